"""`mascing.traces`: what a run stored, by sample, as tensors and as a lazy table."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

import mascing
from mascing.errors import DataError, StorageError
from mascing.runs import run_traces
from mascing.runs.trace_shards import TraceShards
from mascing.storage.object_storage import Storage
from mascing.traces.trace_set import TraceSet
from tests.mascing.runs.stored_traces import FOLDER, SHARDS, SPEC, write_traces


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def made(place: Path) -> TraceSet:
    return write_traces(Storage.open(str(place)))


@pytest.mark.parametrize(
    "address", ["{}", "{}/", f"{{}}/{FOLDER.prefix}", f"{{}}/{FOLDER.prefix}/", "{}/harvest/defence-fedcba9876543210"]
)
def test_traces_are_found_by_storage_run_or_stage(place: Path, made: TraceSet, address: str) -> None:
    traces = mascing.traces(address.format(place))
    assert len(traces) == len(made)
    assert traces.spec == SPEC
    assert repr(traces) == "RunTraces(defence, train: 30 samples, olmoe 3 x 8)"
    assert len(mascing.traces(str(place), FOLDER.name)) == len(made)


def test_samples_come_in_order(place: Path, made: TraceSet) -> None:
    samples = list(mascing.traces(str(place)))
    assert [sample.conversation_id for sample in samples] == made.ids
    assert torch.equal(torch.cat([sample.z for sample in samples]), made.z)
    assert torch.equal(torch.cat([sample.selected for sample in samples]), made.selected)
    assert [sample.label for sample in samples] == made.labels.tolist()
    assert torch.equal(mascing.traces(str(place)).to_torch().z, made.z)


def test_the_table_holds_every_token_layer_and_expert(place: Path, made: TraceSet) -> None:
    table = mascing.traces(str(place)).to_polars()
    assert isinstance(table, pl.LazyFrame)
    every = table.collect()
    assert every.schema == table.collect_schema()
    assert every.height == made.z.numel()
    assert torch.equal(torch.tensor(every["logit"].to_numpy()).view(made.z.shape), made.z.float())
    assert every["layer"].unique().sort().to_list() == [1, 2, 4]
    chosen = every.filter(pl.col("selected")).group_by("sample", "token", "layer", maintain_order=True)
    experts = chosen.agg(pl.col("expert").sort())["expert"].to_list()
    assert experts == made.selected.long().sort(dim=-1).values.flatten(0, 1).tolist()
    counts = made.offsets.diff().tolist()
    last = every.group_by("sample", maintain_order=True).agg(pl.col("token").max(), pl.col("region").last())
    assert last["token"].to_list() == [count - 1 for count in counts]
    assert last["region"].to_list() == ["prompt"] * len(made)


def test_queries_see_what_they_would_in_memory(place: Path, made: TraceSet) -> None:
    table = mascing.traces(str(place)).to_polars()
    every = table.collect()
    chosen = pl.col("layer").eq(2) & pl.col("selected")
    wanted = every.filter(chosen).select("expert", "logit")
    assert table.filter(chosen).select("expert", "logit").collect().equals(wanted)
    assert table.head(5).collect().equals(every.head(5))
    assert table.filter(chosen).head(5).collect().equals(every.filter(chosen).head(5))
    assert table.select(pl.len()).collect().item() == made.z.numel()


def test_only_what_a_query_asks_for_is_read(place: Path, made: TraceSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each shard is read when its turn comes: the first rows need the first shard alone."""
    read: list[str] = []
    plain = TraceShards.content

    def noted(self: TraceShards, name: str) -> bytes | Path:
        read.append(name)
        return plain(self, name)

    monkeypatch.setattr(TraceShards, "content", noted)
    monkeypatch.setattr("mascing.traces.stored.WINDOW_BYTES", 1)  # every shard is a window of its own
    traces = mascing.traces(str(place))
    for first in (lambda: next(iter(traces)), lambda: traces.to_polars().head(3).collect()):
        read.clear()
        first()
        assert len(read) <= 2  # the next one is read ahead
    read.clear()
    assert len(list(traces)) == len(made)
    assert len(read) == SHARDS


def test_long_samples_come_a_few_tokens_at_a_time(place: Path, made: TraceSet, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = mascing.traces(str(place)).to_polars().collect()
    monkeypatch.setattr(run_traces, "_ROWS", 100)  # four tokens
    assert mascing.traces(str(place)).to_polars().collect().equals(whole)


def test_the_package_of_that_name_can_be_imported_and_called(place: Path, made: TraceSet) -> None:
    script = f"from mascing import traces; print(len(traces({str(place)!r})))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == f"{len(made)}\n"
    from mascing.traces import stored

    assert mascing.traces.stored is stored  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("address", "said"),
    [
        (("{}/runs/another",), "there is no runs/another/inputs.json"),
        (("{}/harvest/another",), "holds no finished harvest"),
        (("{}", "another"), f"there is no run another .* there are: {FOLDER.name}"),
        (("{}/nowhere",), "there is no finished run under"),
        ((7,), "not from int"),
        (("{}", 7), "the name of a run"),
    ],
)
def test_a_place_without_traces_is_refused_by_name(
    place: Path, made: TraceSet, address: tuple[Any, ...], said: str
) -> None:
    with pytest.raises(DataError, match=said):
        mascing.traces(*(part.format(place) if isinstance(part, str) else part for part in address))
    assert not (place / "nowhere").exists()


def test_a_path_does_for_a_url(place: Path, made: TraceSet) -> None:
    assert len(mascing.traces(place)) == len(mascing.traces(str(place)))


def test_other_splits_and_urls_are_refused(place: Path, made: TraceSet) -> None:
    with pytest.raises(DataError, match="holds no traces of the split 'dev'; recorded there: train"):
        mascing.traces(str(place), split="dev")
    with pytest.raises(DataError, match="split must be one of train, dev, test, not 'validation'"):
        mascing.traces(str(place), split="validation")  # type: ignore[arg-type]
    with pytest.raises(StorageError, match="unknown kind"):
        mascing.traces("gs://bucket/runs/x")


def test_traces_on_s3_are_those_of_a_local_disk_in_any_order(
    place: Path, made: TraceSet, s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{s3_url}/traces"
    write_traces(Storage.open(url))
    monkeypatch.setattr("mascing.traces.stored.WINDOW_BYTES", 1)  # every shard is a window of its own
    local, remote = mascing.traces(place), mascing.traces(url)
    orders = [
        [part.ids for part in traces.stored().parts(torch.Generator().manual_seed(3))] for traces in (local, remote)
    ]
    assert orders[0] == orders[1]
    assert torch.equal(remote.to_torch().z, made.z)
    assert remote.counts().collect().equals(local.counts().collect())
    assert remote.files[0].startswith(f"{url}/harvest/")


def test_counts_come_from_footers_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = write_traces(Storage.open(str(tmp_path)))
    monkeypatch.setattr("mascing.traces.shard_files.ShardFile.table", None)
    traces = mascing.traces(tmp_path)
    table = traces.counts().collect()
    assert table.columns == ["class", "span", "layer", "expert", "tokens", "selected"]
    assert table.height == 2 * 2 * 3 * 8
    for name, label in (("positive", 1), ("negative", 0)):
        ids = made.labelled(label).span("question").selected[:, 1].flatten().long()
        rows = table.filter(pl.col("class") == name, pl.col("span") == "question", pl.col("layer") == 2).sort("expert")
        assert rows["selected"].to_list() == ids.bincount(minlength=8).tolist()
        assert rows["tokens"].unique().to_list() == [len(ids) // 2]
    assert torch.allclose(traces.statistics().sigma(), made.sigma(), rtol=1e-6)


@pytest.mark.parametrize("size", [0, 1000, -1])
def test_a_local_shard_of_another_size_is_refused_by_its_path(tmp_path: Path, size: int) -> None:
    """Counts read footers alone, whose checks cannot tell a file that was cut off from no Parquet file at all."""
    write_traces(Storage.open(str(tmp_path)))
    traces = mascing.traces(tmp_path)
    shard = Path(traces.files[1])
    shard.write_bytes(shard.read_bytes()[:size])
    with pytest.raises(StorageError, match=f"{shard} is missing or damaged.*delete the folder .* and run again"):
        traces.statistics()


def test_a_local_shard_whose_footer_is_damaged_is_called_by_its_path(tmp_path: Path) -> None:
    write_traces(Storage.open(str(tmp_path)))
    traces = mascing.traces(tmp_path)
    shard = Path(traces.files[1])
    shard.write_bytes(shard.read_bytes()[:-4] + b"none")
    with pytest.raises(DataError, match=f"{shard} is damaged"):
        traces.statistics()


def test_polars_averages_a_layer_without_a_loop_over_tokens(place: Path, made: TraceSet) -> None:
    """The example of docs/traces.md, with the numbers that it must give."""
    traces = mascing.traces(place)
    n_experts = traces.spec.n_experts
    as_array = pl.col("z_001").bin.reinterpret(dtype=pl.Array(pl.Float16, n_experts), endianness="little")
    logit = as_array.cast(pl.Array(pl.Float32, n_experts))
    means = (
        pl.scan_parquet(traces.files)
        .filter(pl.col("region") < 2)
        .group_by("label")
        .agg(logit.arr.get(expert).mean().alias(f"expert_{expert}") for expert in range(n_experts))
        .sort("label")
        .collect()
    )
    wanted = torch.stack([made.labelled(label).z[:, 1].float().mean(dim=0) for label in (0, 1)])
    assert torch.allclose(means.drop("label").to_torch(), wanted, atol=1e-5)
