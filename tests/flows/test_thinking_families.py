"""A run on conversations alone, on checkpoints of families that think in three layouts: labels, a search, a report."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from mascing.flows.reconfigure import reconfigure
from mascing.runs.finished_run import read_inputs, read_result, stages_at
from mascing.runs.readers import unsteered_of
from mascing.runs.run_folder import RunFolder
from mascing.schemas.config import BehaviourConfig, ComputeConfig, GenerationConfig, ModelConfig, RunConfig
from mascing.schemas.settings.judge_settings import ComplianceJudge, RefusalJudge
from mascing.schemas.settings.method_settings import MethodsConfig, SteerMoEConfig
from mascing.storage.object_storage import Storage
from tests.tasks.here_pool import HerePool
from tests.tiny_families import Family, conversations

pytestmark = pytest.mark.usefixtures("prefect_here")


@pytest.mark.parametrize("family", get_args(Family))
def test_a_run_on_unlabelled_conversations_judges_no_thought_and_leaves_a_report(
    family: Family, family_folder: Callable[[Family], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mascing.flows.reconfigure.Pool", lambda *_: HerePool())
    rows = tmp_path / "conversations.jsonl"
    rows.write_text("".join(f"{json.dumps(row)}\n" for row in conversations()))
    config = RunConfig(
        model=ModelConfig(path=str(family_folder(family))),
        behaviour=BehaviourConfig(
            name="red-things",
            conversations=str(rows),
            target=RefusalJudge(),
            utility=ComplianceJudge(),
            protected=RefusalJudge(),
        ),
        methods=MethodsConfig(
            mascing=None,
            consensus=None,
            gradient=None,
            refined=None,
            active=None,
            steermoe=SteerMoEConfig(n_activated=(0, 2), n_deactivated=(2,)),
        ),
        generation=GenerationConfig(max_new_tokens=48),
        compute=ComputeConfig(workers=1),
        allow_unpublishable=True,  # `compliance` judges utility, so that no reply needs a reference
    )
    storage = Storage.open(str(tmp_path / "data"))
    run = RunFolder(reconfigure(config, storage.url))
    result = read_result(storage, run)
    targets = [sets["target"] for sets in result.labels.values()]
    assert all(target.hits and target.misses for target in targets)
    assert set(result.methods) == {"steermoe", "random"}
    assert "red-things" in storage.read(run.page).decode()
    stages = stages_at(storage, read_inputs(storage, run).stages)
    assert stages.label is not None
    replies = [row for split in result.labels for row in unsteered_of(storage, stages.label, split).values()]
    thoughtful = [row for row in replies if row["thought"]]
    assert len(thoughtful) > 0.9 * len(replies)
    # A thought reads like the opposite of the reply after it, so a judge that heard it would be wrong.
    for row in thoughtful:
        assert row["thought"] not in row["reply"]
        refuses = row["reply"].startswith("I cannot help")
        if refuses or row["reply"].startswith("Take the"):
            assert row["outcome"] == ("hit" if refuses == (row["set"] != "utility/benign") else "miss")
