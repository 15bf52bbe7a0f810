"""Gates that no mask can pass are known before one is searched for."""

from collections.abc import Sequence
from typing import Any

import pytest

from mascing.evidence.foregone import foregone
from mascing.evidence.gates import decide
from mascing.evidence.results import changes_by_set, rates_by_set
from mascing.schemas.config import BehaviourConfig, GatesConfig, ModelConfig, RunConfig
from mascing.schemas.conversation import Conversation, Label, Message
from mascing.schemas.settings.judge_settings import ComplianceJudge, ExactJudge, JudgeConfig, RefusalJudge
from mascing.statistics import rate

EXACT = ExactJudge()


def config(target: JudgeConfig = EXACT, utility: JudgeConfig = EXACT, **gates: Any) -> RunConfig:
    behaviour = BehaviourConfig(name="b", conversations="c.jsonl", target=target, utility=utility, protected=EXACT)
    return RunConfig(model=ModelConfig(path="model"), behaviour=behaviour, gates=GatesConfig(**gates))


def rows(name: str, n: int, label: Label | None = None) -> list[Conversation]:
    """Conversations of a set, each a group of its own."""
    message = (Message(role="user", content="how?"),)
    return [
        Conversation(id=f"{name}-{number:03d}", group_id=f"{name}-{number}", set=name, label=label, messages=message)
        for number in range(n)
    ]


def verdicts(brought: Sequence[Conversation], hits: float, unscored: float = 0.0) -> list[dict[str, Any]]:
    """Verdicts of which these shares are hits and unscored."""
    outcomes = ["hit"] * round(hits * len(brought)) + ["unscored"] * round(unscored * len(brought))
    outcomes += ["miss"] * (len(brought) - len(outcomes))
    return [
        {"conversation_id": row.id, "group_id": row.group_id, "set": row.set, "outcome": outcome}
        for row, outcome in zip(brought, outcomes, strict=True)
    ]


TARGET = rows("target", 80)
GOOD = verdicts(TARGET, 0.5)


def test_nothing_is_said_of_a_run_that_can_pass() -> None:
    utility = rows("utility/u", 80)
    assert foregone(config(), [*TARGET, *utility]) == []
    assert foregone(config(), [*TARGET, *utility], [*GOOD, *verdicts(utility, 0.9)]) == []


@pytest.mark.parametrize(
    ("hits", "unscored", "said"),
    [
        (0.0, 0.0, "the unsteered model scores 0.0%"),
        (0.0, 1.0, "no reply of the unsteered model could be judged"),
        (0.4, 0.6, "take another judge, or rows that the model masters"),
        (0.55, 0.0, "undecided: bring more rows"),
    ],
)
def test_a_set_below_the_floor_is_told_as_its_gate_will_decide(hits: float, unscored: float, said: str) -> None:
    utility = rows("utility/u", 80)
    before = [*GOOD, *verdicts(utility, hits, unscored)]
    [told] = foregone(config(), [*TARGET, *utility], before)
    assert (told.gate, said in str(told)) == ("utility/u", True)
    assert str(told).startswith("will block publication: utility/u: on test ")
    assert foregone(config(max_utility_loss=1), [*TARGET, *utility], before) == []


@pytest.mark.parametrize("n", [20, 34, 35, 60])
def test_a_set_is_hopeless_exactly_if_its_gate_fails_a_mask_that_changes_nothing(n: int) -> None:
    utility = rows("utility/u", n)
    before = [*GOOD, *verdicts(utility, 1.0)]
    changes, unchanged = changes_by_set(before, before), rate(["miss"] * 200, [str(number) for number in range(200)])
    _, reasons = decide(changes, rates_by_set(before), unchanged, GatesConfig())
    fails = any(reason.startswith("utility/u fails") for reason in reasons)
    told = [str(gate) for gate in foregone(config(), [*TARGET, *utility], before)]
    assert bool(told) == fails
    assert told == [str(gate) for gate in foregone(config(), [*TARGET, *utility])]
    if told:
        assert f"{n} test conversations cannot pass a 10-point gate whatever the mask does" in told[0]


def test_a_target_that_is_always_hit_leaves_nothing_to_gain() -> None:
    utility = rows("utility/u", 80)
    [told] = foregone(config(), [*TARGET, *utility], [*verdicts(TARGET, 0.95), *verdicts(utility, 1.0)])
    assert "of which the unsteered model misses 4, cannot show a gain of 10 points" in str(told)


def test_judges_that_decide_nothing_are_told_by_the_configuration_alone() -> None:
    utility = rows("utility/u", 80)
    judges = {"target": RefusalJudge(), "utility": RefusalJudge()}
    [told] = foregone(config(**judges), [*TARGET, *utility])
    assert told.gate == "judges"
    assert "a mask that refuses everything would lose nothing" in str(told)
    [told] = foregone(config(**(judges | {"utility": ComplianceJudge()})), [*TARGET, *utility])
    assert "a mask that answers with nonsense would lose nothing" in str(told)
    assert foregone(config(**(judges | {"utility": ExactJudge()})), [*TARGET, *utility]) == []


def test_labels_that_disagree_are_told_with_what_to_do() -> None:
    brought = [*rows("target", 40, "positive"), *rows("target", 80, "negative")[40:], *rows("utility/u", 80)]
    utility = verdicts(brought[80:], 1.0)
    assert foregone(config(), brought, [*GOOD, *utility]) == []
    turned = [{**row, "outcome": "miss" if row["outcome"] == "hit" else "hit"} for row in GOOD]
    [told] = foregone(config(), brought, [*turned, *utility])
    assert told.gate == "labels"
    assert "drop the labels from the file (they are not needed)" in str(told)
