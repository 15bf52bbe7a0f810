"""The judge that errs on purpose: a known share of verdicts, the same ones each time."""

import asyncio

from mascing.judges.table import make_judge
from mascing.schemas.conversation import Conversation, Message
from mascing.schemas.verdict import Verdict
from mascing.testbeds.planted import BEHAVIOURS, judges


def verdicts(n: int) -> list[Verdict]:
    judge = make_judge(judges(BEHAVIOURS[0], level=3).target)
    rows = [
        Conversation(id=f"c{number}", group_id="g", messages=(Message(role="user", content="explain"),))
        for number in range(n)
    ]
    return [asyncio.run(judge(row, "sorry i can not help")) for row in rows]


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
