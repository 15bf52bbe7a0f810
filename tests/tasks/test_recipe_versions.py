"""A stage whose content changes without a new version of its recipe would pass off old results as new ones."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from mascing.schemas.finished import MANIFESTS
from tests.tasks.recipe_outputs import outputs, stored

STAGES = sorted(MANIFESTS)
REMEDY = (
    "raise `version` of its facts in schemas/facts.py, or of the method or judge that changed in its row, "
    "then write the new outputs with `python -m tests.tasks.recipe_outputs`"
)


@pytest.fixture(scope="module")
def now(every_stage: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("recipes")
    shutil.copytree(every_stage, folder / "storage")
    return outputs(folder)


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What two outputs of a stage differ in."""
    names = sorted(before["numbers"].keys() | after["numbers"].keys())
    differing = [] if before["exact"] == after["exact"] else ["texts, counts or selections"]
    return differing + [name for name in names if not alike(before["numbers"].get(name), after["numbers"].get(name))]


def alike(before: list[float] | None, after: list[float] | None) -> bool:
    """Equal up to what processors differ in, and to what a few steps of a search make of that."""
    return before is not None and after is not None and after == pytest.approx(before, rel=0.01, abs=1e-3)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_leaves_what_its_version_promises(stage: str, now: dict[str, Any]) -> None:
    before, after = stored()[stage], now[stage]
    assert before["version"] == after["version"], f"{stage} has a new version: write the new outputs; {REMEDY}"
    assert differences(before, after) == [], f"{stage} leaves other content for the same inputs: {REMEDY}"


def test_a_change_of_content_is_seen() -> None:
    before = {"exact": "a", "numbers": {"facts/sigma/0": [1.0], "z": [8.0, 0.5, 1.0]}}
    assert differences(before, before) == []
    assert differences(before, before | {"exact": "b"}) == ["texts, counts or selections"]
    assert differences(before, before | {"numbers": {"facts/sigma/0": [1.05], "z": [8.0, 0.5, 1.0]}}) == [
        "facts/sigma/0"
    ]
    assert differences(before, before | {"numbers": {"z": [8.0, 0.5, 1.0]}}) == ["facts/sigma/0"]
