"""Gates that no mask can pass are known before one is searched for."""

import re
from collections.abc import Sequence
from typing import Any

import pytest

from mascing.evidence.foregone import Foregone, foregone
from mascing.evidence.gates import decide
from mascing.evidence.planning import question_of
from mascing.evidence.prospects import prospects
from mascing.evidence.results import changes_by_set, rates_by_set
from mascing.schemas.config import BehaviourConfig, GatesConfig, ModelConfig, RobustnessConfig, RunConfig
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
        assert (
            f"utility/u: {n} test rows cannot pass a 10-point gate, about 35 are needed; or set gates.max_" in told[0]
        )


@pytest.mark.parametrize(("size", "n", "limit"), [(1, 20, 0.05), (4, 20, 0.05), (2, 40, 0.1), (1, 3, 0.9)])
def test_the_number_of_rows_and_the_limit_that_are_told_pass_the_gate(size: int, n: int, limit: float) -> None:
    def told(n: int, limit: float) -> list[Foregone]:
        grouped = [
            row.model_copy(update={"group_id": f"u{number // size}"}) for number, row in enumerate(rows("utility/u", n))
        ]
        return foregone(config(max_utility_loss=limit), [*TARGET, *grouped])

    [gate] = told(n, limit)
    assert (f"{n} test rows in {n // size} groups" in gate.sentence) == (size > 1)
    numbers = re.search(
        r"about (\d+)(?: in \d+ groups?)? are needed(?:; or set gates.max_utility_loss to ([\d.]+))?$", gate.sentence
    )
    assert numbers is not None
    assert told(int(numbers[1]), limit) == []
    if numbers[2] is not None:
        assert told(n, float(numbers[2])) == []
        assert told(n, float(numbers[2]) - 0.01) != []
    # The plan says the same number for the same set.
    [line] = [
        line
        for line in prospects(
            question_of(GatesConfig(max_utility_loss=limit)),
            [row.model_copy(update={"group_id": f"u{k // size}"}) for k, row in enumerate(rows("utility/u", n))],
            protected_loss=0.1,
        ).lines
        if "utility/u" in line
    ]
    assert f"about {numbers[1]} needed: too few" in line


def test_a_target_that_is_too_small_is_told_with_a_gain_that_it_could_show() -> None:
    utility = rows("utility/u", 80)
    [gate] = foregone(config(min_uplift=0.8), [*rows("target", 10), *utility])
    assert gate.sentence.startswith("target: 10 test rows cannot show a gain of 80 points, about ")
    possible = float(gate.sentence.rpartition(" ")[2])
    assert foregone(config(min_uplift=possible), [*rows("target", 10), *utility]) == []


def test_the_gain_that_is_possible_counts_the_rows_that_are_missed_where_they_stand() -> None:
    """Half of each group is missed: that a mask mends all of it is surer than that it mends half of the groups."""
    utility = rows("utility/u", 80)
    pairs = [row.model_copy(update={"group_id": f"g{number // 2}"}) for number, row in enumerate(rows("target", 60))]
    before = verdicts(pairs, 1.0)
    for missed in before[::2]:
        missed["outcome"] = "miss"
    mended = changes_by_set(before, verdicts(pairs, 1.0))["target"]
    known = [*before, *verdicts(utility, 1.0)]
    possible, beyond = mended.low - 0.001, mended.low + 0.001
    assert possible > 0.36
    assert foregone(config(min_uplift=possible), [*pairs, *utility], known) == []
    [gate] = foregone(config(min_uplift=beyond), [*pairs, *utility], known)
    assert gate.gate == "target"


def test_a_run_without_utility_rows_or_with_few_rows_in_all_or_under_changed_conditions_is_told() -> None:
    [gate] = foregone(config(), TARGET)
    assert (gate.gate, "set gates.max_utility_loss to 1" in gate.sentence) == ("utility", True)
    few = [*rows("target", 15), *rows("utility/u", 12)]
    loose: dict[str, Any] = {"max_utility_loss": 0.3, "min_baseline": 0}
    assert [gate.gate for gate in foregone(config(**loose), few)] == ["replies"]
    assert foregone(config(**loose, max_degenerate=0.15), few) == []
    strict = config().model_copy(update={"robustness": RobustnessConfig(conversations=5)})
    [gate] = foregone(strict, [*TARGET, *rows("utility/u", 80)])
    assert gate.gate == "conditions"
    assert "system prompt, temperature 0.7" in gate.sentence


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
