"""The page on behaviours: its entry of one's own is taken by a run, and every command on it works."""

import csv
import json
import shlex
from pathlib import Path

import pytest
import yaml

from mascing.cli import main
from mascing.config import load_config
from tests.docs.blocks import blocks
from tests.mascing import olmoe_folder

PAGE = Path(__file__).parents[2] / "docs" / "behaviours.md"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of the page: its YAML files, and many rows like the one that it shows."""
    olmoe_folder.save(tmp_path / "my-model")
    for code in blocks(PAGE, "yaml"):
        first = code.partition("\n")[0]
        if first.startswith("# "):
            (tmp_path / first.removeprefix("# ")).write_text(code, encoding="utf-8")
    [shown] = blocks(PAGE, "json")
    rows = [{**json.loads(shown), "topic": f"town-{number}"} for number in range(400)]
    rows = [{**row, "request": f"{row['request']}, of town {number}"} for number, row in enumerate(rows)]
    (tmp_path / "house-rules.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    with (tmp_path / "facts.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("question", "answer"))
        table.writerows((f"Loaf of town {number}?", "rye") for number in range(200))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_commands_of_the_page_work(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [line for code in blocks(PAGE, "bash") for line in code.splitlines()]
    for line in lines:
        command, *arguments = shlex.split(line)
        assert command == "mascing"
        assert main(arguments) == 0, capsys.readouterr().out
    said = capsys.readouterr().out
    assert "600 of 600 in house-rules, facts can be used" in said
    assert "utility/facts" in said


def test_the_other_runs_of_the_page_are_right(folder: Path) -> None:
    model = {"path": "org/model"}
    for name in ("my-protected-set", "must-refuse"):
        text = f"name: {name}\nfile: house-rules.jsonl\nroles: [protected]\njudge: {{kind: refusal}}\n"
        (folder / f"{name}.yaml").write_text(text)
    runs = [yaml.safe_load(code) for code in blocks(PAGE, "yaml")]
    for run in [run for run in runs if "behaviour" in run]:
        (folder / "any.yaml").write_text(yaml.safe_dump({"model": model, **run}), encoding="utf-8")
        assert load_config(str(folder / "any.yaml")).behaviour.conversations
