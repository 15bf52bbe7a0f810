"""`mascing behaviours` lists every entry, and the run.yaml that it shows of one is a run."""

from pathlib import Path

import pytest

from mascing.catalogue.entries import names
from mascing.cli import main
from mascing.config import load_config


def test_all_entries_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["behaviours"]) == 0
    heading, *lines, following = capsys.readouterr().out.splitlines()
    assert heading.split() == ["entry", "can", "be", "judge", "rows", "licence"]
    assert [line.split()[0] for line in lines] == names()
    assert "gated" in next(line for line in lines if line.startswith("mhj "))
    assert following == "next: mascing behaviours show NAME"


@pytest.mark.parametrize("name", names())
def test_the_run_that_is_shown_can_be_loaded(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["behaviours", "show", name]) == 0
    facts, _, run = capsys.readouterr().out.partition("# run.yaml\n")
    assert all(f"\n{fact} " in facts for fact in ("licence", "commit", "columns", "checked", "judge", "rows from"))
    monkeypatch.chdir(tmp_path)
    own = "name: mine\nfile: my-copy.jsonl\nroles: [protected]\njudge: {kind: refusal}\n"
    (tmp_path / "my-protected-set.yaml").write_text(own)
    (tmp_path / "my-copy.jsonl").touch()
    (tmp_path / "run.yaml").write_text(run)
    behaviour = load_config("run.yaml").behaviour
    assert not isinstance(behaviour.conversations, str)
    assert name in {source.name for source in behaviour.conversations}


def test_an_unknown_entry_is_told_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["behaviours", "show", "gsm-8k"]) == 1
    assert "did you mean 'gsm8k'?" in capsys.readouterr().err


def test_an_entry_of_ones_own_is_checked_and_shown_without_what_it_does_not_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    own = tmp_path / "own.yaml"
    own.write_text("name: mine\nfile: rows.jsonl\njudge: {kind: refusal}\nbeside: [./other.yaml]\n")
    assert main(["behaviours", "show", "./own.yaml"]) == 1
    assert "rows.jsonl: there is no such file (in ./own.yaml)" in capsys.readouterr().err
    (tmp_path / "rows.jsonl").touch()
    assert main(["behaviours", "show", "./own.yaml"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("entry       mine\n")
    assert "none: " not in shown
    assert "beside: [./other.yaml]" in shown
    own.write_text(own.read_text().replace("refusal", "refusl"))
    assert main(["behaviours", "show", "./own.yaml"]) == 1
    assert "did you mean 'refusal'?" in capsys.readouterr().err
