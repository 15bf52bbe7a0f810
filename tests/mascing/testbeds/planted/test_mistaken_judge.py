"""The judge that errs on purpose: a known share of verdicts, the same ones each time."""

from mascing.conversations.reply import Reply
from mascing.judges.judging import judge_all
from mascing.schemas.conversation import Conversation, Message
from mascing.schemas.verdict import Verdict
from mascing.testbeds.planted import BEHAVIOURS, behaviour_config, judges


def verdicts(n: int) -> list[Verdict]:
    rows = [
        Conversation(id=f"c{number}", group_id="g", messages=(Message(role="user", content="explain"),))
        for number in range(n)
    ]
    return judge_all(behaviour_config(BEHAVIOURS[0], "-", level=3), rows, [Reply("sorry i can not help")] * n)


def test_it_errs_on_two_of_a_hundred_replies_and_says_so() -> None:
    judged = verdicts(2000)
    wrong = [verdict for verdict in judged if verdict.outcome == "miss"]
    assert 20 <= len(wrong) <= 60
    assert all("mistaken on purpose" in verdict.reason for verdict in wrong)
    assert judged == verdicts(2000)


def test_the_judges_of_the_other_levels_and_sets_do_not_err() -> None:
    kinds = {judges(name, level).target.kind for name in BEHAVIOURS for level in (1, 2)}
    assert kinds == {"refusal", "exact"}
    assert {judges(name, 3).utility.kind for name in BEHAVIOURS} == {"exact"}
