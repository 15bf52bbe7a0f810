"""The file that a campaign keeps under its storage runs the same campaign, wherever the first one lay."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from mascing.campaigns.folder import folder_of, keep_campaign
from mascing.config import load_campaign
from mascing.judges.calibrations.calibration import calibrated, write_calibration
from mascing.schemas.campaign import Campaign
from mascing.schemas.settings.judge_settings import RefusalJudge
from mascing.schemas.verdict import Outcome
from mascing.storage.object_storage import Storage

ENDPOINT = {"kind": "openai", "model": "m", "base_url": "http://127.0.0.1:1/v1"}
RUBRIC = {"question": "Is it kind?", "hit": "it is", "miss": "it is not"}


def kept(path: Path, storage: Storage) -> tuple[Campaign, Campaign]:
    """The campaign as it was loaded, and as its kept file is."""
    first = load_campaign(str(path))
    home = folder_of(first)
    keep_campaign(storage, home, first)
    return first, load_campaign(storage.locate(home.config))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    (folder / "guard").mkdir(parents=True)
    for name, data in {"rubric.yaml": RUBRIC, "entry.yaml": entry("own", "llm", rubric="rubric.yaml")}.items():
        (folder / name).write_text(yaml.safe_dump(data))
    (folder / "kindness.yaml").write_text(yaml.safe_dump(entry("kindness", "refusal", roles=["utility"])))
    for name in ("prompt.txt", "rows.jsonl", "kindness.jsonl", "own.jsonl"):
        (folder / name).write_text("text\n")
    outcomes: list[Outcome] = ["hit", "miss"]
    found = calibrated(RefusalJudge(), outcomes * 10, outcomes * 10, list("abcdefghij") * 2, "0", "human")
    write_calibration(folder / "refusal.json", found)
    return folder


def entry(name: str, kind: str, roles: tuple[str, ...] | list[str] = ("target",), **fields: Any) -> dict[str, Any]:
    judge = {"kind": kind, **fields, **({"endpoint": ENDPOINT} if kind == "llm" else {})}
    return {"name": name, "file": f"{name}.jsonl", "roles": list(roles), "judge": judge}


def written(folder: Path, behaviours: dict[str, Any], shared: dict[str, Any]) -> Path:
    parts = {"name": "kept", "models": {"m": {"model": {"path": "guard"}}}, "behaviours": behaviours}
    path = folder / "campaign.yaml"
    path.write_text(json.dumps({**parts, "methods": {"steermoe": {}}, "shared": shared}))
    return path


def test_paths_inside_judges_and_sources_lead_to_the_same_files(folder: Path, tmp_path: Path) -> None:
    guard = {"kind": "llama_guard", "family": "harmbench", "hit_if": "unsafe", "endpoint": ENDPOINT}
    members = [{**guard, "prompt": "prompt.txt"}, {"kind": "refusal", "calibration": "refusal.json"}]
    judges = {
        "target": {"kind": "llm", "rubric": "rubric.yaml", "endpoint": ENDPOINT},
        "utility": {"kind": "panel", "members": members},
        "protected": {"kind": "refusal", "calibration": "refusal.json"},
        "judges": {"utility/x": {"kind": "classifier", "model": {"path": "guard"}, "label": 1}},
    }
    sources = [{"name": "rows", "file": "rows.jsonl"}]
    behaviours = {"b": {"behaviour": {"conversations": sources}}, "c": {"behaviour": {"conversations": "rows.jsonl"}}}
    first, again = kept(written(folder, behaviours, {"behaviour": judges}), Storage.open(str(tmp_path / "s")))
    assert again == first
    assert folder_of(again) == folder_of(first)


def test_entries_of_ones_own_and_local_copies_lead_to_the_same_files(folder: Path, tmp_path: Path) -> None:
    beside = ["kindness.yaml", {"catalogue": "xstest", "file": "rows.jsonl"}]
    behaviours = {"own": {"behaviour": {"catalogue": "entry.yaml", "file": "rows.jsonl", "beside": beside}}}
    first, again = kept(written(folder, behaviours, {}), Storage.open(str(tmp_path / "s")))
    assert again == first
    target: Any = first.runs[0].config.behaviour.target
    assert target.rubric == str(folder / "rubric.yaml")


def test_a_text_in_a_judge_of_ones_own_is_no_path(folder: Path, tmp_path: Path) -> None:
    own = {"kind": "tests.mascing.campaigns.prompted:prompted", "prompt": "prompt.txt"}
    judges = {"target": own, "utility": own, "protected": own}
    behaviour = {"conversations": "rows.jsonl", **judges}
    first, again = kept(written(folder, {"b": {"behaviour": behaviour}}, {}), Storage.open(str(tmp_path / "s")))
    assert again == first
    part: dict[str, Any] = first.config.behaviours["b"]
    assert part["behaviour"]["target"] == own
