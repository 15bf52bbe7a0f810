"""`mascing mask tasks` prints the table, keeps both results, and names a task that is not there."""

import json
from functools import partial
from pathlib import Path

import lm_eval.tasks
import pytest

from mascing.cli import main
from tests.mascing.harnesses.steered_folder import SteeredFolder


@pytest.fixture(autouse=True)
def our_tasks_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading the thousands of task files of the harness takes seconds."""
    monkeypatch.setattr(lm_eval.tasks, "TaskManager", partial(lm_eval.tasks.TaskManager, include_defaults=False))


def command(files: SteeredFolder, task: Path, name: str, *options: str) -> list[str]:
    where = ["--model", str(files.model), "--tasks", name, "--include-path", str(task.parent)]
    return ["mask", "tasks", str(files.mask), *where, *options]


def test_it_compares_the_model_without_and_with_the_mask(
    steered_files: SteeredFolder, arc_easy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--limit", "8", "--cluster", "passage", "--out", str(tmp_path))
    assert main(command(steered_files, arc_easy, "arc_easy_of_ours", *options)) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].split() == [
        "task",
        "metric",
        "n",
        "without",
        "with",
        "difference",
        "95%",
        "interval",
        "p",
        "Holm",
        "p",
    ]
    assert [line.split()[:3] for line in said[1:3]] == [["arc_easy_of_ours", name, "8"] for name in ("acc", "acc_norm")]
    assert said[-1].startswith("next: ")
    kept = {path.stem: json.loads(path.read_text()) for path in tmp_path.glob("*.json")}
    assert kept.keys() == {"changes", "without", "with"}
    assert kept["changes"]["mascing"]["mask_digest"] == steered_files.loaded_mask.digest
    for side, value in (("without", "before"), ("with", "after")):
        assert len(kept[side]["samples"]["arc_easy_of_ours"]) == 8
        reported = kept[side]["results"]["arc_easy_of_ours"]["acc,none"]
        assert reported == kept["changes"]["changes"][0][value]


def test_a_task_that_is_not_there_is_named(
    steered_files: SteeredFolder, arc_easy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(steered_files, arc_easy, "arc_easy_of_ours,arc_hard")) == 1
    said = capsys.readouterr().err
    assert "error: the harness has no task arc_hard: `lm-eval ls tasks` lists them" in said
    assert f"no file in {arc_easy.parent} is of a task" in said
    nothing = ["--model", str(steered_files.model), "--tasks", "x.yaml"]
    assert main(["mask", "tasks", str(steered_files.mask), *nothing]) == 1
    assert "name its folder by --include-path" in capsys.readouterr().err
