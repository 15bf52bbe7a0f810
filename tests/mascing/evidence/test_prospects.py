"""A plan for a run holds each set to the limit of its own gate."""

from mascing.evidence.planning import Question
from mascing.evidence.prospects import prospects
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
    lines = {line.split(":")[0].strip(): line for line in prospects(QUESTION, rows, protected_loss=0.2)}
    assert lines["utility/u"].endswith("about 35 needed: too few")
    assert lines["protected/p"].endswith("needed: enough")
