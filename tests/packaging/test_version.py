"""pyproject.toml holds the version; files that repeat it agree with it."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

import mascing
from mascing.cli import main

ROOT = Path(__file__).parents[2]
VERSION: str = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]


def test_the_library_and_the_command_line_tell_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert mascing.__version__ == VERSION
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"mascing {VERSION}\n"


def test_it_is_the_newest_release_in_the_changelog_and_the_citation() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.search(r"^## (?P<version>\d\S*) - (?P<date>\d{4}-\d\d-\d\d)$", changelog, re.MULTILINE)
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert released
    assert released["version"] == VERSION == citation["version"]
    assert released["date"] == citation["date-released"]
