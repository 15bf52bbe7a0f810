"""`mascing traces show` and `export`."""

import json
import os
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import torch
from safetensors import safe_open

import mascing
from mascing.circuits.steermoe.count_files import read_counts
from mascing.cli import main
from mascing.errors import DataError
from mascing.schemas.manifest import Facts, Manifest
from mascing.schemas.trace_layout import Chosen, Keep
from mascing.storage.manifests import StageOutput
from mascing.storage.object_storage import Storage
from mascing.traces.shards import encode
from mascing.traces.trace_set import TraceSet, samples_of
from tests.mascing.made_traces import traces
from tests.mascing.runs.stored_traces import FOLDER, SPEC, write_traces


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def made(place: Path) -> TraceSet:
    return write_traces(Storage.open(str(place)))


class OtherFacts(Facts):
    """Facts that only the harvest itself knows."""

    version: int = 1
    rows_a_second: float = 1.5


class OtherHarvest(Manifest):
    """What a harvest of conversations without labels leaves."""

    stage: str = "collect"
    facts: OtherFacts


def unlabelled(folder: Path, keep: Keep, fingerprint: str = "0123456789abcdef") -> str:
    """Write a harvest without labels or splits, and return its prefix."""
    made = traces(12)
    made = made.relabelled(dict.fromkeys(made.ids, -1))
    samples = list(samples_of(made if keep == "logits" else made.without_logits()))
    stage = StageOutput(Storage.open(str(folder)), OtherHarvest, "chats", fingerprint)
    shards = [
        stage.put(f"traces-{number:05d}.parquet", encode(part, SPEC, "c" * 64, Chosen(keep=keep)), len(part))
        for number, part in enumerate((samples[:5], samples[5:]))
    ]
    return stage.commit(shards, OtherFacts(), rows_in=12).prefix


def lines(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert main(list(arguments)) == 0
    return capsys.readouterr().out.splitlines()


def test_show_says_what_was_recorded(place: Path, made: TraceSet, capsys: pytest.CaptureFixture[str]) -> None:
    said = lines(capsys, "traces", "show", str(place), FOLDER.name)
    assert said[0] == f"folder       {place}/harvest/defence-fedcba9876543210"
    assert said[1].split(maxsplit=1) == ["model", "olmoe, 3 MoE layers x 8 experts, top-2"]
    assert said[3].split(maxsplit=1) == ["kept", "logits and selected experts of 3 layers (at depth 1, 2, 4)"]
    assert said[5].split() == ["split", "train"]
    assert f"30 samples, {len(made.z)} tokens" in said[6]
    assert said[7].split() == ["class", "samples", "question", "prompt", "selected", "most", "selected", "least"]
    positive_TLK = made.labelled(1).selected
    rate = float((positive_TLK[:, 1] == 3).any(dim=1).float().mean())
    assert f"2/3 {rate:.0%}, " in said[9]  # the expert that tells the classes apart is selected most, at depth 2
    assert said[9].split()[:4] == ["positive", "15", str(len(positive_TLK) - 30), "30"]
    assert said[10].startswith("difference")
    negative = float((made.labelled(0).selected[:, 1] == 3).any(dim=1).float().mean())
    assert f"2/3 {rate - negative:+.0%}, " in said[10]
    assert said[-1] == (f"next: copy them for other tools: mascing traces export {place} {FOLDER.name} --to FOLDER")


def test_a_collection_is_found_by_name_and_the_latest_where_there_is_no_run(tmp_path: Path) -> None:
    earlier = unlabelled(tmp_path, "logits")
    name = earlier.removeprefix("collect/")
    assert len(mascing.traces(tmp_path, name)) == 12
    assert mascing.traces(tmp_path).url == f"{tmp_path}/{earlier}"
    os.utime(tmp_path / earlier / "manifest.json", (0, 0))
    latest = unlabelled(tmp_path, "counts", fingerprint="fedcba9876543210")
    assert mascing.traces(tmp_path).url == f"{tmp_path}/{latest}"
    with pytest.raises(DataError, match=f"there is no collection other under .*; there are: .*{name}"):
        mascing.traces(tmp_path, "other")
    write_traces(Storage.open(str(tmp_path)))
    assert len(mascing.traces(tmp_path)) == 30
    with pytest.raises(DataError, match="there is no run other"):
        mascing.traces(tmp_path, "other")


@pytest.mark.parametrize("keep", ["logits", "selected", "counts"])
def test_a_harvest_without_labels_is_read_from_manifest_and_shards_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], keep: Keep
) -> None:
    url = f"{tmp_path}/{unlabelled(tmp_path, keep)}"
    opened = mascing.traces(url)
    assert (len(opened), opened.split, opened.layout.checkpoint) == (12, None, "c" * 64)
    assert {sample.label for sample in opened} == {None}
    assert repr(opened) == "RunTraces(chats: 12 samples, olmoe 3 x 8)"
    said = lines(capsys, "traces", "show", url)
    assert any(line.startswith("unlabelled  12") for line in said)
    assert not any(line.startswith(("positive", "negative", "split")) for line in said)
    selected = opened.counts().select(pl.col("selected").sum()).collect().item()
    assert selected == opened.statistics().tokens * 3 * 2
    if keep == "counts":
        with pytest.raises(mascing.errors.DataError, match="counts alone"):
            opened.to_polars()
    else:
        table = opened.to_polars().collect()
        assert table["label"].null_count() == table.height
        assert int(table["selected"].sum()) == selected
        assert table["logit"].null_count() == (0 if keep == "logits" else table.height)


def test_exported_parquet_is_what_is_stored(
    place: Path, made: TraceSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for there in range(4):
        for file in sorted(tmp_path.glob("*.parquet"))[there:]:  # as an export leaves it that was interrupted
            file.unlink()
        said = lines(capsys, "traces", "export", str(place), "--to", str(tmp_path))
        assert [line.partition(" in ")[0] for line in said[:-1]] == {
            0: ["written: 3 files"],
            1: ["written: 2 files", "already there: 1 file"],
            2: ["written: 1 file", "already there: 2 files"],
            3: ["already there: 3 files"],
        }[there]
    files = sorted(tmp_path.glob("*.parquet"))
    assert [file.read_bytes() for file in files] == [Path(file).read_bytes() for file in mascing.traces(place).files]
    assert pl.scan_parquet(tmp_path / "*.parquet").select(pl.len()).collect().item() == len(made.z)


def test_exported_tensors_are_those_of_the_traces(
    place: Path, made: TraceSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines(capsys, "traces", "export", str(place), "--to", str(tmp_path), "--format", "safetensors")
    found, names = [], []
    for file in sorted(tmp_path.glob("*.safetensors")):
        with safe_open(file, "pt") as stored:
            found.append({key: stored.get_tensor(key) for key in stored.keys()})  # noqa: SIM118
            names += json.loads(stored.metadata()["ids"])
            assert stored.metadata()["family"] == "olmoe"
    assert torch.equal(torch.cat([part["z"] for part in found]), made.z)
    assert torch.equal(torch.cat([part["selected"] for part in found]), made.selected)
    assert torch.equal(torch.cat([part["labels"] for part in found]), made.labels)
    assert names == made.ids


def test_exported_counts_are_what_masks_are_made_from(
    place: Path, made: TraceSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = lines(capsys, "traces", "export", str(place), "--to", str(tmp_path), "--format", "counts")
    assert "mascing mask from-counts --with" in said[-1]
    assert sorted(file.name for file in tmp_path.glob("*.csv")) == [
        f"counts-{name}-{span}.csv" for name in ("negative", "positive") for span in ("question+prompt", "question")
    ]
    file = tmp_path / "counts-positive-question+prompt.csv"
    counts = read_counts(file.name, file.read_bytes()).of(replace(SPEC))
    ids = made.labelled(1).selected.long()
    assert counts.tokens_L.tolist() == [len(ids)] * 3
    assert counts.selected_LE.tolist() == [ids[:, layer].flatten().bincount(minlength=8).tolist() for layer in range(3)]


def test_a_file_of_another_export_is_never_replaced(
    place: Path, made: TraceSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "traces-train-00001.parquet").write_text("mine")
    assert main(["traces", "export", str(place), "--to", str(tmp_path)]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert f"{tmp_path} holds other traces (traces-train-00001.parquet differs): choose another folder" in said
    assert (tmp_path / "traces-train-00001.parquet").read_text() == "mine"


def test_a_damaged_shard_is_neither_read_nor_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_traces(Storage.open(str(tmp_path / "store")))
    [path] = [Path(file) for file in mascing.traces(tmp_path / "store").files if "00001" in file]
    data = bytearray(path.read_bytes())
    data[500] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    assert main(["traces", "export", str(tmp_path / "store"), "--to", str(tmp_path / "out")]) == 1
    assert f"{path} is missing or damaged" in " ".join(capsys.readouterr().err.split())
    with pytest.raises(mascing.errors.StorageError, match=r"traces-train-00001\.parquet is missing or damaged"):
        list(mascing.traces(tmp_path / "store"))


@pytest.mark.parametrize("command", [("show",), ("export", "--to", "out")])
def test_a_place_without_traces_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    name, *options = command
    assert main(["traces", name, str(tmp_path / "nowhere"), *options]) == 1
    assert "there is no finished run under" in capsys.readouterr().err
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--keep", "all"], "--keep 'all': input should be 'logits', 'selected' or 'counts'"),
        (["--spans", "answer"], "--spans 'answer': input should be 'question', 'prompt' or 'reply'"),
        (["--layers", "1,1"], "mascing harvest: layers are numbers from 0 that rise, not [1, 1]"),
        (["--dtype", "half"], "--dtype 'half': input should be 'auto', 'float32', 'bfloat16' or 'float16'"),
    ],
)
def test_what_a_harvest_cannot_keep_is_told_by_its_option(
    options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["harvest", "prompts.jsonl", "--model", "m", *options]) == 1
    assert capsys.readouterr().err == f"error: {said}\n"


def test_counts_alone_say_that_no_logits_are_kept(tmp_path: Path) -> None:
    prefix = unlabelled(tmp_path, "counts")
    with pytest.raises(DataError, match="these traces keep no logits of tokens before the reply"):
        mascing.traces(f"{tmp_path}/{prefix}").statistics().sigma()
