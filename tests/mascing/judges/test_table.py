"""The table of judges is whole: a kind without a row cannot be judged as another."""

from typing import Any, get_args

import pytest
from pydantic import TypeAdapter

from mascing.conversations.reply import Reply
from mascing.errors import ConfigError
from mascing.judges.judging import judge_all
from mascing.judges.table import JUDGES, JudgeKind, judge_identity, make_judge
from mascing.schemas.base import Frozen
from mascing.schemas.config import BehaviourConfig
from mascing.schemas.conversation import Conversation, Message
from mascing.schemas.settings.judge_settings import ExactJudge, JudgeConfig, PluggedJudge, RefusalJudge
from mascing.schemas.verdict import Verdict

BUILT_IN = [get_args(member)[0] for member in get_args(get_args(JudgeConfig)[0]) if get_args(member)[0] != PluggedJudge]


def test_every_built_in_kind_has_a_row_with_its_config() -> None:
    kinds = {model.model_fields["kind"].default: model for model in BUILT_IN}
    assert {kind: row.config for kind, row in JUDGES.items()} == kinds


def test_a_kind_without_a_row_is_no_other_judge() -> None:
    with pytest.raises(ConfigError, match="nothing is registered as 'oracle'"):
        make_judge(PluggedJudge(kind="oracle"))


class LengthOptions(Frozen):
    least: int


def long_enough(options: LengthOptions) -> Any:
    async def judge(conversation: Conversation, reply: str) -> Verdict:
        return Verdict(outcome="hit" if len(reply) >= options.least else "miss", reason="its length")

    return judge


def test_a_new_judge_is_one_line_in_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(JUDGES, "length", JudgeKind(LengthOptions, long_enough, version=2))
    length = TypeAdapter(JudgeConfig).validate_python({"kind": "length", "least": 3})
    behaviour = BehaviourConfig(
        name="b", conversations="c", target=length, utility=ExactJudge(), protected=ExactJudge()
    )
    conversation = Conversation(id="c", group_id="g", messages=(Message(role="user", content="?"),))
    assert [verdict.outcome for verdict in judge_all(behaviour, [conversation] * 2, [Reply("no"), Reply("yes")])] == [
        "miss",
        "hit",
    ]
    assert judge_identity(length) == {"judge": {"kind": "length", "least": 3}, "version": 2}


def test_options_and_version_are_the_identity() -> None:
    refusal = RefusalJudge(phrases=("No",))
    assert judge_identity(refusal) == {"judge": {"kind": "refusal", "phrases": ["No"]}, "version": 3}
    assert judge_identity(ExactJudge()) == {"judge": {"kind": "exact"}, "version": 2}
