"""A panel goes by the verdicts of its members, as its rule says."""

import json

import pytest

from mascing.conversations.reply import Reply
from mascing.judges.judging import judge_by
from mascing.judges.panels.panel import Rule, together
from mascing.judges.table import judge_identity
from mascing.schemas.settings.judge_settings import ContainsJudge, ExactJudge, PanelJudge, RefusalJudge
from mascing.schemas.verdict import Outcome, Verdict
from tests.mascing.judges.asked import chat

OUTCOMES: dict[str, Outcome] = {"h": "hit", "m": "miss", "u": "unscored"}


@pytest.mark.parametrize(
    ("members", "majority", "unanimity"),
    [
        ("hhh", "hit", "hit"),
        ("mmm", "miss", "miss"),
        ("hhm", "hit", "unscored"),
        ("hmm", "miss", "unscored"),
        ("hhu", "hit", "unscored"),
        ("hmu", "unscored", "unscored"),
        ("huu", "unscored", "unscored"),  # one of three is no majority, though it is all that was scored
        ("uuu", "unscored", "unscored"),
        ("hm", "unscored", "unscored"),
        ("hu", "unscored", "unscored"),
        ("hhmm", "unscored", "unscored"),
    ],
)
def test_the_rules(members: str, majority: str, unanimity: str) -> None:
    said = [(letter, Verdict(outcome=OUTCOMES[letter], reason="r", cost=0.25)) for letter in members]
    rules: dict[Rule, str] = {"majority": majority, "unanimity": unanimity}
    for rule, outcome in rules.items():
        verdict = together(said, rule)
        assert (verdict.outcome, verdict.cost) == (outcome, 0.25 * len(members))
        assert [entry["outcome"] for entry in json.loads(verdict.raw or "")] == [each.outcome for _, each in said]


def test_what_more_text_could_change_for_its_majority_it_could_change_for_the_panel() -> None:
    sure, unsure = (Verdict(outcome="hit", reason="r", final=final) for final in (True, False))
    miss = Verdict(outcome="miss", reason="r")
    assert together([("a", sure), ("b", sure), ("c", miss)], "majority").final
    assert not together([("a", sure), ("b", unsure), ("c", miss)], "majority").final


def test_members_judge_as_they_do_alone() -> None:
    panel = PanelJudge(members=(ContainsJudge(), ExactJudge(), RefusalJudge()))
    replies = ["Blue", "It is blue", "I can't help with that.", ""]
    verdicts = judge_by(panel, [chat(references=["blue"])] * 4, [Reply(reply) for reply in replies])
    assert [verdict.outcome for verdict in verdicts] == ["hit", "miss", "miss", "unscored"]
    # Two of three would go on reading the second reply if it was cut off.
    [cut] = judge_by(panel, [chat(references=["blue"])], [Reply("It is blue", cut_off=True, tokens=3)])
    assert cut.outcome == "unscored"
    assert "exact" in json.dumps(judge_identity(panel))
    assert judge_identity(panel) != judge_identity(PanelJudge(members=(ContainsJudge(), ExactJudge())))
