"""The commands about what runs left: `report`, `runs`, `registry`, and the last lines of a run."""

import json
import re
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from mascing.cli import main
from mascing.commands.line import run_flow, say_prose
from mascing.flows.starting import Line
from mascing.models.checkpoint_names import NamedCheckpoint
from mascing.runs import registry
from mascing.runs.run_folder import RunFolder
from mascing.schemas.facts import CollectionFacts, RouterFacts
from mascing.schemas.finished import Collected
from mascing.schemas.result import HeldChannel, Remedy, Result, UnprovenMask
from mascing.storage.manifests import StageOutput, shard_at
from mascing.storage.object_storage import Storage
from mascing.storage.sealing import open_json
from tests.mascing.made_cards import FINGERPRINT, stored
from tests.mascing.report.run_on_disk import FOLDER, write_run

MODEL = NamedCheckpoint("org/olmoe", FINGERPRINT)
ADDRESS = "org--olmoe-3fa9c1d2e4b5/policy"


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage.open(str(tmp_path / "storage"))


def mask(storage: Storage, digit: str) -> str:
    prefix = stored(storage, f"policy-{digit}")
    registry.publish(storage, MODEL, "policy", prefix)
    return prefix


def lines(capsys: pytest.CaptureFixture[str], storage: Storage, *arguments: str) -> list[str]:
    assert main([*arguments, "--storage", storage.url]) == 0
    return capsys.readouterr().out.splitlines()


def refused(capsys: pytest.CaptureFixture[str], storage: Storage, *arguments: str) -> str:
    assert main([*arguments, "--storage", storage.url]) == 1
    return capsys.readouterr().err


def test_looking_makes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing, address = tmp_path / "missing", "policy@candidate"
    for looked in (("runs",), ("registry", "list")):
        assert main([*looked, "--storage", str(missing)]) == 0
    for absent in (("registry", "show", address), ("registry", "history", address), ("mask", "show", address)):
        assert main([*absent, "--storage", str(missing)]) == 1
    assert not missing.exists()
    file = tmp_path / "file"
    file.write_text("")
    capsys.readouterr()
    assert main(["runs", "--storage", str(file)]) == 1
    assert f"{file}: a file is in the way" in capsys.readouterr().err


def test_a_report_names_the_run_whose_page_it_wrote(storage: Storage, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(storage, methods=("gradient",))
    said = lines(capsys, storage, "report")
    assert said[0] == f"run: {FOLDER.name}"
    assert said[-1] == f"next: open {storage.locate(FOLDER.page)}"
    assert storage.exists(FOLDER.page)
    assert storage.exists("index.html")
    assert lines(capsys, storage, "report", f"runs/{FOLDER.name}/") == said
    assert f"there are: {FOLDER.name}" in refused(capsys, storage, "report", "another")


def test_runs_are_listed_by_name(storage: Storage, capsys: pytest.CaptureFixture[str]) -> None:
    assert lines(capsys, storage, "runs")[0] == f"no run is finished under {storage.url}"
    write_run(storage, methods=("gradient",))
    storage.overwrite("runs/old-0/result.json", b"{}")
    said = lines(capsys, storage, "runs")
    assert said[0].split() == ["run", "published", "when"]
    [row] = [line.split() for line in said if line.startswith(FOLDER.name)]
    assert row[:2] == [FOLDER.name, "gradient"]
    assert any(line.startswith("old-0 ") and "(of another version)" in line for line in said)


def test_collections_are_listed_under_the_runs(storage: Storage, capsys: pytest.CaptureFixture[str]) -> None:
    stage = StageOutput(storage, Collected, "chats", "0123456789abcdef")
    storage.create("traces/x/one.parquet", b"0" * 2000)
    spec = RouterFacts(family="olmoe", layer_ids=(0, 1), n_experts=8, top_k=2, scoring="softmax", fingerprint="f")
    facts = CollectionFacts(checkpoint="c", spec=spec, samples=1200, tokens=9, sigma=())
    shard = shard_at("traces/x/one.parquet", b"0" * 2000, 1200)
    manifest = stage.commit([shard], facts, rows_in=1200)
    said = lines(capsys, storage, "runs")
    assert said[0] == f"no run is finished under {storage.url}"
    assert said[1].split() == ["collection", "model", "conversations", "size", "when"]
    assert re.split(" {2,}", said[2])[:4] == ["chats-0123456789abcdef", "olmoe 2 x 8", "1,200", "2.0 kB"]
    assert said[-1] == f"next: look at a collection: mascing traces show {storage.locate(manifest.prefix)}"
    storage.overwrite("collect/old-0/manifest.json", b"{}")
    write_run(storage, methods=("gradient",))
    said = lines(capsys, storage, "runs")
    assert said[0].startswith("run ")
    assert any(line.startswith("old-0 ") and "(of another version)" in line for line in said)
    assert said[-1].startswith("next: write the page of one again: mascing report")


def test_channels_are_listed_shown_and_their_history_told(storage: Storage, capsys: pytest.CaptureFixture[str]) -> None:
    assert lines(capsys, storage, "registry", "list")[0] == f"nothing is published under {storage.url}"
    a, b = mask(storage, "a"), mask(storage, "b")
    assert mask(storage, "a") == a
    assert lines(capsys, storage, "registry", "list")[1].split() == [f"{ADDRESS}@candidate", a, "2"]
    assert f"mask         {a}" in lines(capsys, storage, "registry", "show", "policy@candidate")
    said = lines(capsys, storage, "registry", "history", "org/olmoe/policy@candidate")
    assert [line.split("  ")[:2] for line in said[:3]] == [["1", a], ["2", b], ["3", a]]
    assert "  (now)  " in said[2]
    assert said[-1].startswith(f"next: go back: mascing registry rollback {ADDRESS}@candidate")
    assert all(re.search(r"  \d{4}-\d\d-\d\d .* UTC, .*: published by a run", line) for line in said[:3])
    assert "nothing is published as policy@live" in refused(capsys, storage, "registry", "show", "policy@live")
    assert "is no channel" in refused(capsys, storage, "registry", "show", "policy")


def test_a_channel_without_a_past_cannot_go_back(storage: Storage, capsys: pytest.CaptureFixture[str]) -> None:
    only = mask(storage, "a")
    first, following = lines(capsys, storage, "registry", "history", "policy@candidate")
    assert first.startswith(f"1  {only}  (now)")
    assert following.startswith(f"next: look at the mask: mascing mask show {ADDRESS}@candidate")


def test_a_mask_is_promoted_and_rolled_back(storage: Storage, capsys: pytest.CaptureFixture[str]) -> None:
    a = mask(storage, "a")
    b = mask(storage, "b")
    said = lines(capsys, storage, "registry", "promote", "policy@candidate", "production")
    assert said[0] == f"{ADDRESS}@production now holds {b}"
    again = lines(capsys, storage, "registry", "promote", "policy@candidate", "production")
    assert again[0] == f"{ADDRESS}@production holds {b} already: nothing was changed"
    assert lines(capsys, storage, "registry", "rollback", "policy@candidate")[0] == f"{ADDRESS}@candidate now holds {a}"
    assert lines(capsys, storage, "registry", "history", "policy@candidate")[-1].endswith(f" --to {b}")
    assert "held no other mask" in refused(capsys, storage, "registry", "rollback", "policy@production")
    assert "cannot name a channel" in refused(capsys, storage, "registry", "promote", "policy@candidate", "../x")
    assert f"withdrawn    {b}" in lines(capsys, storage, "registry", "show", "policy@candidate")


def test_a_channel_that_cannot_be_read_is_listed_as_damaged(
    storage: Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    mask(storage, "a")
    lines(capsys, storage, "registry", "promote", "policy@candidate", "production")
    damaged = next(path for path in storage.list("registry") if path.endswith("/production.json"))
    storage.overwrite(damaged, storage.read(damaged).replace(b"policy-a", b"policy-b"))
    capsys.readouterr()
    assert main(["registry", "list", "--storage", storage.url]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("damaged: checksum failed")
    assert damaged in said[0]
    assert "restore an earlier copy of it; to delete it forgets its history and which masks were withdrawn" in said[0]
    assert any(line.startswith(f"{ADDRESS}@candidate ") for line in said)
    assert "a channel cannot be read: checksum failed" in refused(
        capsys, storage, "registry", "show", "policy@production"
    )


@pytest.mark.parametrize("version", [2, None])
def test_a_mask_that_an_earlier_version_wrote_or_that_is_gone_is_told_and_its_folder_kept(
    version: int | None, storage: Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    path = f"{mask(storage, 'a')}/manifest.json"
    earlier = json.loads(open_json(storage.read(path), path)) | {"facts": {"version": version}}
    storage.remove(path)
    said = "holds no finished mask: restore it"
    if version is not None:
        storage.create(path, json.dumps(earlier).encode())
        said = "(facts.version: must be one of 3, got 2): keep its folder while a channel holds it"
    for command in (["list"], ["show", "policy@candidate"]):
        assert main(["registry", *command, "--storage", storage.url]) == 1
        out = capsys.readouterr().out
        assert f"damaged: the mask of {ADDRESS}@candidate: " in out
        assert said in out
    assert said in refused(capsys, storage, "registry", "promote", "policy@candidate", "production")


MASK, OTHER = "masks/b-1", "masks/b-2"


@pytest.mark.parametrize(
    ("published", "held", "said"),
    [
        ("gradient", MASK, f"published: the mask of gradient, as m-0/b@candidate, which now holds {MASK}"),
        ("gradient", OTHER, f"another writer moved the channel: m-0/b@candidate holds {OTHER}"),
        (None, OTHER, f"\nm-0/b@candidate still holds {OTHER}\n"),
        (None, None, "no mask was published: of all methods, gradient did best on dev, so only its mask could be"),
    ],
)
def test_a_run_ends_by_saying_what_the_channel_holds(
    published: str | None, held: str | None, said: str, storage: Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    output = ended(storage, capsys, published, HeldChannel(address="m-0/b@candidate", mask=held) if held else None)
    assert said in output
    assert output.splitlines()[-1].startswith("next: ")
    assert f"result: {storage.locate('runs/b-m-0/result.json')}\n" in output


def found(name: str) -> Line[str]:
    """A line that finds all its work done."""
    return Line(lambda: name, lambda: name)


def ended(
    storage: Storage, capsys: pytest.CaptureFixture[str], published: str | None, channel: HeldChannel | None
) -> str:
    """The output of a run that left this result."""
    result = write_run(storage, methods=("gradient",))
    update = {"published": published, "mask": MASK if published else None, "channel": channel}
    folder = RunFolder("b-m-0")
    storage.overwrite(folder.inputs, storage.read(FOLDER.inputs))
    storage.overwrite(folder.result, Result.model_validate({**dict(result), **update}).model_dump_json().encode())
    run_flow(storage, found(folder.name), verbose=False, option="")
    return capsys.readouterr().out


def test_a_run_says_what_kept_the_first_on_dev_and_what_else_passed(
    storage: Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(storage, methods=("gradient", "tilt"))
    run_flow(storage, found(FOLDER.name), verbose=False, option=" --storage here")
    output = capsys.readouterr().out
    told = "no mask was published: of all methods, tilt did best on dev, so only its mask could be published, and on"
    _, _, after = output.partition(f"{told} test it missed 2 gates\n")
    assert after.startswith("  tilt, best on dev:\n    target fails: the rate changed by ")
    assert "\non test, gradient passes every gate, but is not published: the method is chosen on dev" in after
    assert after.splitlines()[-1].startswith("next: open the report; ")


def test_a_run_that_publishes_nothing_says_what_would_change_it_once_for_all_it_concerns(
    storage: Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    result = write_run(storage, methods=("steermoe", "tilt"), min_uplift=0.9)
    floor = Remedy(gate="target", kind="grid", sentence="add larger values")
    update = {
        "remedies": {"steermoe": (floor,), "tilt": (floor,)},
        "methods": {
            name: method.model_copy(update={"reasons": ("target fails: x",)}) for name, method in result.methods.items()
        },
        "unproven": UnprovenMask(method="tilt", mask=FOLDER.unproven),
    }
    storage.overwrite(FOLDER.result, result.model_copy(update=update).model_dump_json().encode())
    run_flow(storage, found(FOLDER.name), verbose=False, option=" --storage here")
    said = capsys.readouterr().out.splitlines()
    start = said.index("  tilt and steermoe:")
    assert said[start + 1 : start + 3] == ["    target fails: x", "      -> add larger values"]
    kept = f"mascing mask show {FOLDER.unproven} --storage here"
    assert said[-2] == f"unproven: the mask of tilt, best on dev, is kept: {kept}"
    assert said[-1].startswith("next: change what a line with -> says, and run again")


def test_a_run_says_whose_search_seeds_disagree(storage: Storage, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(storage, methods=("mascing", "gradient"))
    run_flow(storage, found(FOLDER.name), verbose=False, option=" --storage here")
    output = capsys.readouterr().out
    assert (
        "mascing: 2 of 5 search seeds certainly raise the target rate on dev (86.0% to 90.0%); the others reach 50.0% "
        "to 55.0%. One search may miss what this method can find. See How far to trust the methods in the report\n"
    ) in output
    assert "gradient: all" not in output


def test_a_further_command_names_the_storage_as_it_was_given_and_the_default_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for given, named in (("my store", " --storage 'my store'"), ("./mascing-data", "")):
        mask(Storage.open(given), "a")
        assert main(["registry", "list", "--storage", given]) == 0
        assert capsys.readouterr().out.splitlines()[-1].endswith(f"mascing mask show {ADDRESS}@candidate{named}")


def test_a_table_in_a_log_has_no_blanks_at_its_ends(storage: Storage, capsys: pytest.CaptureFixture[str]) -> None:
    output = ended(storage, capsys, "gradient", HeldChannel(address="m-0/b@candidate", mask=MASK))
    assert [line for line in output.splitlines() if line != line.rstrip()] == []
    assert any(line.startswith("baseline  ") for line in output.splitlines())


@pytest.mark.parametrize("terminal", [True, False])
def test_sentences_wrap_at_words_on_a_terminal_alone(terminal: bool) -> None:
    written, path = StringIO(), f"/{'long/' * 12}quarantine.parquet"
    say_prose(
        Console(file=written, force_terminal=terminal, width=40), f"two rows were set aside, reasons in {path} here"
    )
    shown = written.getvalue().splitlines()
    assert shown == (["two rows were set aside, reasons in", path, "here"] if terminal else [" ".join(shown)])
