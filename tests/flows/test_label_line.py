"""`mascing label`, and the runs that follow it: nothing is done twice, and too little to learn from is no failure."""

import json
from pathlib import Path

import pytest

from mascing.cli import main
from mascing.conversations.splits import SPLITS
from mascing.runs.finished_run import read_result
from mascing.runs.run_folder import find_run
from mascing.schemas.result import Result
from mascing.storage.object_storage import Storage
from tests.coin_run import COIN, written
from tests.mascing import olmoe_folder
from tests.tasks.here_pool import HerePool

pytestmark = pytest.mark.usefixtures("prefect_here", "here")

_ROWS = tuple(f"{split}  " for split in SPLITS)
NEVER = {"kind": "exact"}


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the items of stages in this process."""
    for flow in ("label_line", "reconfigure"):
        monkeypatch.setattr(f"mascing.flows.{flow}.Pool", lambda *_: HerePool())


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return olmoe_folder.save(tmp_path_factory.mktemp("model") / "model")


def lines(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    """The lines that a command prints; it must succeed."""
    assert main(arguments) == 0
    return capsys.readouterr().out.splitlines()


def test_labels_are_counted_told_and_written_and_a_plan_and_a_run_find_them(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, storage, output = (
        written(tmp_path, model, COIN, label="positive"),
        str(tmp_path / "s"),
        tmp_path / "o.jsonl",
    )
    before = lines(capsys, "plan", config, "--storage", storage)
    assert before[0] == "the model's own labels are not known yet; the file holds:"
    assert before[-1].startswith(f"next: mascing label {config} --storage {storage}, ")
    said = lines(capsys, "label", config, "--storage", storage, "--output", str(output))
    counted = {tuple(line.split()[:2]): int(line.split()[2]) for line in said if line.startswith(_ROWS)}
    assert counted.keys() == {(split, name) for split in SPLITS for name in ("target", "utility/u")}
    assert sum(counted.values()) == 80
    for split in SPLITS:
        replies = sum(n for (of, _), n in counted.items() if of == split)
        assert f"label: {split}: {replies}/{replies}" in said
    assert any(line.startswith("the labels in the file agree with the model's own replies in ") for line in said)
    assert said[-2:] == [
        "the model's own replies leave enough to learn from",
        f"next: drop the labels from the file, or correct them, then mascing run {config} --storage {storage}",
    ]
    blocking = [line for line in said if line.startswith("will block publication: ")]
    assert any("labels fails: " in line and "drop the labels from the file" in line for line in blocking)
    assert any("utility/u: " in line and " cannot pass a 10-point gate, about " in line for line in blocking)
    assert {f"label: {line}" for line in blocking} <= set(said)
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert len(rows) == 80
    assert not any("contrast" in row for row in rows)
    targets = [row for row in rows if row.get("set", "target") == "target"]
    assert {row["label"] for row in targets} == {"positive", "negative"}
    assert all(row[{"positive": "wanted", "negative": "unwanted"}[row["label"]]] for row in targets)
    again = lines(capsys, "label", config, "--storage", storage)
    assert "label: already done" in again
    after = lines(capsys, "plan", config, "--storage", storage)
    assert after[0] == "the model's own replies leave enough to learn from"
    held = counted["test", "target"]
    assert any(line.startswith(f"  target: {held} conversations in ") and line.endswith("too few") for line in after)
    assert after[-1].startswith("next: bring more rows of target, or loosen their gates; then drop the labels")
    assert set(blocking) <= set(after)
    assert after[-1].endswith(f"then mascing run {config} --storage {storage}")


def test_a_run_with_too_little_to_learn_from_ends_with_a_report_that_says_what_to_do(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, storage = written(tmp_path, model, NEVER, references=["no such text"]), Storage.open(str(tmp_path / "s"))
    *_, short, following = lines(capsys, "run", config, "--storage", storage.url, "--allow-unpublishable")
    assert short.startswith("not enough to learn from, so no mask was searched for: train: 0 positive conversations")
    assert following.startswith("next: the model shows the wanted behaviour in none of ")
    result = result_of(storage)
    assert (result.methods, result.published, result.channel) == ({}, None, None)
    assert {split: sets["target"].hits for split, sets in result.labels.items()} == dict.fromkeys(SPLITS, 0)
    assert result.lacking[-1] == following.removeprefix("next: ")
    page = storage.read(find_run(storage).folder.page).decode()
    assert "No mask was searched for" in page
    assert 'id="labels"' in page
    assert 'id="gates"' not in page
    assert "what of bench" in page
    assert not [path for path in storage.list() if path.startswith(("harvest/", "registry/"))]
    again = lines(capsys, "run", config, "--storage", storage.url, "--allow-unpublishable")
    assert "label: already done" in again
    assert lines(capsys, "report", "--storage", storage.url)


def test_a_run_stops_after_its_labels_if_no_mask_could_be_published(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, storage = written(tmp_path, model, COIN, label="positive"), Storage.open(str(tmp_path / "s"))
    # So loose that its rows are enough: only the replies show what cannot be passed.
    loose = {"min_uplift": 0, "max_utility_loss": 0.5, "min_baseline": 0, "max_degenerate": 0.5}
    Path(config).write_text(
        json.dumps(json.loads(Path(config).read_text()) | {"gates": loose, "allow_unpublishable": False})
    )
    assert main(["run", config, "--storage", storage.url]) == 1
    printed = capsys.readouterr()
    assert "label: done in " in printed.out
    assert "no mask of this run can pass its gates: " in printed.err
    assert "labels fails: " in printed.err
    assert "add --allow-unpublishable" in printed.err
    assert not storage.list("harvest")


def result_of(storage: Storage) -> Result:
    """The result of the run that finished last."""
    return read_result(storage, find_run(storage).folder)


def test_a_plan_without_target_conversations_in_a_split_says_what_to_add(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = written(tmp_path, model, COIN)
    (tmp_path / "c.jsonl").write_text((tmp_path / "c.jsonl").read_text().splitlines()[0])
    said = lines(capsys, "plan", config, "--storage", str(tmp_path / "s"))
    assert any(line.endswith("1 target conversation in 1 group") for line in said)
    assert said[-1].startswith("next: add target conversations of more groups")


@pytest.mark.parametrize("output", ["none/o.jsonl", "."])
def test_an_output_that_cannot_be_written_is_told_before_anything_is_labelled(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], output: str
) -> None:
    config, storage = written(tmp_path, model, COIN), tmp_path / "s"
    assert main(("label", config, "--storage", str(storage), "--output", str(tmp_path / output))) == 1
    assert "name a file in a folder that exists" in capsys.readouterr().err
    assert not storage.exists()
