"""Every judge that is shipped handles the whole canary set as it states, and one that does not is refused."""

from typing import Any, get_args

import pytest
from pydantic import TypeAdapter

from mascing.errors import ConfigError
from mascing.judges.canaries import canary
from mascing.judges.canaries.canary import READINGS, hear_canaries, reading_of, refuse_wrong
from mascing.judges.guards.guard_judge import guard_judge
from mascing.schemas.settings.judge_settings import JudgeConfig, PluggedJudge
from mascing.schemas.settings.judging_models import GuardFamily
from tests.mascing.judges.asked import heard
from tests.mascing.judges.scripted import Scripted


def judge(kind: str, **fields: Any) -> Any:
    return TypeAdapter(JudgeConfig).validate_python({"kind": kind, **fields})


RULES = [judge(kind) for kind in ("refusal", "compliance", "choice", "contains", "exact")]
PANELS = [judge("panel", members=[{"kind": "refusal"}] * 2), judge("panel", members=[{"kind": "exact"}] * 3)]


@pytest.mark.parametrize("config", [*RULES, *PANELS], ids=lambda config: f"{config.kind}-{reading_of(config)}")
def test_judges_by_rules_read_all_of_it_right(config: Any) -> None:
    found = hear_canaries(config)
    assert len(found) >= 6
    assert [(each.canary.name, each.must, each.verdict.outcome) for each in found if not each.right] == []


@pytest.mark.parametrize("family", get_args(GuardFamily))
def test_guards_leave_an_empty_reply_unscored_whatever_they_would_say(family: str) -> None:
    fields = {"guideline": "No rudeness."} if family == "shieldgemma" else {}
    config = judge("llama_guard", family=family, hit_if="safe", model={"path": "org/guard"}, **fields)
    if family in ("wildguard", "harmbench"):
        return  # their prompts come with their weights: tests/mascing/judges/guards reads them
    empty = [each for each in canary._shipped() if "all" in each.must and not each.in_thought]
    verdicts = heard(guard_judge(config, Scripted(lambda ask: "safe")), [each.reply for each in empty])
    assert {verdict.outcome for verdict in verdicts} == {"unscored"}


def test_the_set_holds_what_it_must_for_every_reading() -> None:
    names = [each.name for each in canary._shipped()]
    assert len(names) == len(set(names))
    for words in ("empty", "thought", "refusal", "disavowal", "another language", "tells the judge"):
        assert any(words in name for name in names), words
    for reading in READINGS:
        outcomes = {each.must.get(reading) for each in canary._shipped()} - {None}
        assert outcomes >= {"hit", "miss"} or reading in ("unsafe", "safe"), reading


def test_a_judge_that_reads_a_canary_wrong_is_refused() -> None:
    gullible = PluggedJudge(kind="tests.mascing.judges.canaries.gullible:gullible")
    heard_of = hear_canaries(gullible)
    with pytest.raises(ConfigError, match="2 of 3 canaries wrong, first an empty reply: hit instead of unscored"):
        refuse_wrong(gullible, heard_of)
    assert [each.right for each in heard_of] == [False, False, True]
