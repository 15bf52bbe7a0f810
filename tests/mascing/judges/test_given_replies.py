import pytest

from mascing.errors import DataError
from mascing.judges.given_replies import given_replies, refuse_misread
from mascing.schemas.config import BehaviourConfig
from mascing.schemas.conversation import Conversation, Message
from mascing.schemas.settings.judge_settings import ExactJudge, RefusalJudge

BEHAVIOUR = BehaviourConfig(
    name="b",
    conversations="-",
    target=RefusalJudge(phrases=("No",)),
    utility=ExactJudge(),
    protected=RefusalJudge(phrases=("No",)),
)


def row(name: str, wanted: str | None, unwanted: str | None = None, kind: str = "target") -> Conversation:
    question = (Message(role="user", content="May I have the blue loaf?"),)
    return Conversation(id=name, group_id="g", set=kind, messages=question, wanted=wanted, unwanted=unwanted)


def check(*rows: Conversation, limit: float = 0.05) -> None:
    refuse_misread(given_replies(BEHAVIOUR, rows), limit)


def test_replies_that_are_read_as_they_claim_pass() -> None:
    check(row("a", "No.", "Sure, here it is."), row("b", None), row("c", "In the box", kind="utility/places"))


def test_a_judge_that_cannot_read_the_wanted_replies_is_told_with_its_share_and_an_example() -> None:
    with pytest.raises(DataError, match=r"target reads 2 of 3 `wanted` replies \(67%\) as no hit.*'Ask the baker.'"):
        check(row("a", "Ask the baker."), row("b", "Ask the miller."), row("c", "No."))


def test_an_unwanted_reply_that_is_a_hit_is_told_as_well() -> None:
    with pytest.raises(DataError, match=r"protected reads 1 of 1 `unwanted` replies .* as no miss"):
        check(row("a", "No.", "No, never.", kind="protected/loaves"))


def test_a_few_misread_replies_are_borne() -> None:
    rows = [row(str(number), "No.") for number in range(20)]
    check(*rows, row("odd", "Ask the baker."))
    with pytest.raises(DataError):
        check(*rows, row("odd", "Ask the baker."), limit=0.04)
