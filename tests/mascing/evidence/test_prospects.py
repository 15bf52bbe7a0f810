"""A plan for a run holds each set to the limit of its own gate, and assumes no gain beyond the room that there is."""

from typing import Any

import pytest

from mascing.evidence.planning import Question, question_of
from mascing.evidence.prospects import prospects
from mascing.schemas.config import GatesConfig
from mascing.schemas.conversation import Conversation, Message

QUESTION = Question(
    uplift=0.4,
    baseline=0.5,
    power=0.8,
    correlation=0.0,
    lost=0.0,
    utility_lost=0.0,
    min_uplift=0.1,
    max_loss=0.1,
)


def test_each_set_is_held_to_its_own_limit() -> None:
    rows = [
        Conversation(
            id=f"{name}-{number}",
            group_id=f"{name}-{number}",
            set=name,
            messages=(Message(role="user", content="how?"),),
        )
        for name in ("target", "utility/u", "protected/p")
        for number in range(30)
    ]
    lines = {line.split(":")[0].strip(): line for line in prospects(QUESTION, rows, protected_loss=0.2).lines}
    assert lines["utility/u"].endswith("about 35 needed: too few")
    assert lines["protected/p"].endswith("needed: enough")


@pytest.mark.parametrize(
    ("min_uplift", "asked"),
    [(0.1, {}), (0.1, {"uplift": 0.7}), (0.3, {"lost": 0.3}), (0.8, {}), (0.95, {})],
)
def test_an_unknown_baseline_is_assumed_to_leave_room_for_the_gain(min_uplift: float, asked: dict[str, Any]) -> None:
    question = question_of(GatesConfig(min_uplift=min_uplift), None, **asked)
    question.refuse_impossible()
    [heading, _] = prospects(question, [], protected_loss=0.2).lines
    assert f"a target rate of {100 * question.baseline:.0f}% (assumed: `mascing label` measures it)" in heading
    assert "assumed" not in prospects(question_of(GatesConfig(), 0.5), [], protected_loss=0.2).heading


def test_a_known_baseline_limits_the_gain() -> None:
    question = question_of(GatesConfig(min_uplift=0.1), 0.85)
    assert question.uplift == pytest.approx(0.15)
    question.refuse_impossible()
