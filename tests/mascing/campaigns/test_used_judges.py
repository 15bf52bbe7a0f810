"""A campaign says how far each of its judges can be trusted, and none starts that reads its canaries wrong."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mascing.campaigns.used_judges import judges_of, refuse_unless, trust, wrongly_read
from mascing.errors import ConfigError
from mascing.judges.calibrations.calibration import calibrated, write_calibration
from mascing.schemas.campaign import PlannedRun
from mascing.schemas.settings.judge_settings import PanelJudge, PluggedJudge, RefusalJudge
from mascing.schemas.settings.judging_models import LlmJudge
from mascing.storage.object_storage import Storage
from tests.fake_endpoint import FakeEndpoint
from tests.mascing.campaigns.made_up import run
from tests.mascing.engines.openai.asking import config_for

GULLIBLE = PluggedJudge(kind="tests.mascing.judges.canaries.gullible:gullible")


def runs(**judges: Any) -> list[PlannedRun]:
    """Two seeds and two behaviours, judged by refusal but for these."""
    return [judged(run("a", behaviour, seed), judges) for behaviour in ("defence", "policy") for seed in (0, 1)]


def judged(planned: PlannedRun, judges: dict[str, Any]) -> PlannedRun:
    behaviour = planned.config.behaviour.model_copy(update=judges)
    return planned.model_copy(update={"config": planned.config.model_copy(update={"behaviour": behaviour})})


def test_each_judge_is_there_once_with_all_that_it_reads() -> None:
    first, second = judges_of(runs(target=GULLIBLE, judges={"utility/x": RefusalJudge()}))
    assert (first.config, first.reads) == (GULLIBLE, ("target of defence", "target of policy"))
    assert second.reads[:3] == ("utility of defence", "protected of defence", "utility/x of defence")
    assert (first.by_rules, second.by_rules) == (False, True)
    (panel, _) = judges_of(runs(target=PanelJudge(members=(RefusalJudge(), GULLIBLE))))
    assert not panel.by_rules


def test_a_calibrated_judge_tells_its_errors_and_another_that_it_has_none(tmp_path: Path) -> None:
    said, heard = ["hit", "miss"] * 20, ["hit"] * 4 + ["hit", "miss"] * 18
    found = calibrated(RefusalJudge(), heard, said, [f"g{n}" for n in range(40)], "0", "human")  # type: ignore[arg-type]
    write_calibration(tmp_path / "judge.json", found)
    first, second = judges_of(runs(target=RefusalJudge(calibration=str(tmp_path / "judge.json"))))
    assert trust(first).startswith("judge refusal (target of defence, target of policy): calibrated on 20 hits and 20 ")
    assert "sensitivity 100.0% [" in trust(first)
    assert "specificity 90.0% [" in trust(first)
    assert "not calibrated" in trust(second)


def test_one_that_reads_its_canaries_wrong_is_refused_unless_the_campaign_allows_it() -> None:
    gullible, refusal = judges_of(runs(target=GULLIBLE))
    assert wrongly_read(refusal) is None
    wrong = wrongly_read(gullible)
    assert wrong is not None
    assert "reads 2 of 3 canaries wrong, first an empty reply: hit instead of unscored" in wrong
    refuse_unless(True, wrong)
    with pytest.raises(ConfigError, match="`allow_failing_judges: true`"):
        refuse_unless(False, wrong)


def test_canaries_that_were_read_wrong_are_asked_anew_and_those_read_right_are_not_paid_again(
    fake_endpoint: Callable[..., FakeEndpoint], tmp_path: Path
) -> None:
    said = {"verdict": "PERHAPS"}
    fake = fake_endpoint(reply=lambda body: json.dumps(said))
    judge, *_ = judges_of(runs(target=LlmJudge(rubric="harmful", endpoint=config_for(fake))))
    storage = Storage.open(str(tmp_path / "broken"))
    assert "canaries wrong" in (wrongly_read(judge, storage) or "")
    said["verdict"] = "NO"
    assert wrongly_read(judge, storage) is None
    storage = Storage.open(str(tmp_path / "mended"))
    assert wrongly_read(judge, storage) is None
    paid = fake.answered.total()
    assert wrongly_read(judge, storage) is None
    assert fake.answered.total() == paid
