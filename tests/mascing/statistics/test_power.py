"""Power: what is planned is what the interval then decides."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mascing.errors import ConfigError
from mascing.evidence.planning import Question, answers
from mascing.schemas.verdict import Outcome
from mascing.statistics import paired_difference
from mascing.statistics.power import Effect, conversations_needed, power

STRONG = Effect(gains=0.3, losses=0.0, group_size=2, correlation=0.2)


def question(**changes: Any) -> Question:
    return replace(
        Question(
            uplift=0.3,
            baseline=0.5,
            power=0.8,
            correlation=0.2,
            lost=0.0,
            utility_lost=0.0,
            min_uplift=0.1,
            max_loss=0.1,
        ),
        **changes,
    )


def test_power_is_the_share_of_splits_whose_lower_bound_reaches_the_gate() -> None:
    # Independent conversations, drawn here by other means and judged through the public interval.
    rng = np.random.default_rng(3)
    effect, n, least = Effect(0.3, 0.05, 1, 0.0), 60, 0.1
    reached = 0
    for _ in range(100):
        kind = rng.choice(3, size=n, p=[0.3, 0.05, 0.65])
        before: list[Outcome] = ["hit" if k == 1 else "miss" for k in kind]
        after: list[Outcome] = ["hit" if k == 0 else "miss" for k in kind]
        reached += paired_difference(before, after, [f"g{i}" for i in range(n)]).low >= least
    assert power(effect, n, least) == pytest.approx(reached / 100, abs=0.12)


def test_more_conversations_and_smaller_groups_are_more_power() -> None:
    assert power(STRONG, 40, 0.1) < power(STRONG, 80, 0.1) < power(STRONG, 160, 0.1)
    large = Effect(0.3, 0.0, 10, 0.5)
    assert power(large, 160, 0.1) < power(STRONG, 160, 0.1) - 0.1


def test_the_number_found_is_enough_and_not_far_from_too_few() -> None:
    needed = conversations_needed(STRONG, least=0.1, wanted_power=0.8)
    assert needed is not None
    assert needed % STRONG.group_size == 0
    assert power(STRONG, needed, 0.1) >= 0.8
    assert power(STRONG, round(0.85 * needed), 0.1) < 0.8


def test_a_mask_that_costs_nothing_needs_a_set_that_can_show_it() -> None:
    nothing = Effect(gains=0.0, losses=0.0, group_size=1, correlation=0.0)
    # The score interval of no change in n ends at z^2 / (n + z^2): 10 points are out of doubt from 35 on.
    assert conversations_needed(nothing, least=-0.1, wanted_power=0.8) == 35


def test_no_number_is_enough_for_an_effect_at_the_gate() -> None:
    assert conversations_needed(STRONG, least=0.3, wanted_power=0.8) is None


@pytest.mark.parametrize("values", [(0.7, 0.5, 1, 0.0), (-0.1, 0.0, 1, 0.0), (0.1, 0.0, 0, 0.0), (0.1, 0.0, 2, 1.0)])
def test_an_impossible_effect_is_refused(values: tuple[float, float, int, float]) -> None:
    with pytest.raises(ConfigError):
        Effect(*values)


def test_the_answer_is_a_table_by_group_size_and_what_to_write() -> None:
    lines = list(answers(question(), 2, [1, 2]))
    rows = [line.split() for line in lines if line.strip() and line.split()[0].isdigit()]
    assert [row[0] for row in rows] == ["1", "2"]
    assert int(rows[0][1]) < int(rows[1][1])
    assert rows[1][-1] == "<"
    assert lines[-1].startswith("next: write at least")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"uplift": 0.6}, "only 0.5 are misses"),
        ({"uplift": 0.1}, "not above min_uplift"),
        ({"utility_lost": 0.1}, "not below the limit"),
        ({"lost": 0.6, "uplift": 0.3, "baseline": 0.05}, "a mask cannot lose 0.6 of a baseline"),
    ],
)
def test_what_no_mask_could_do_is_refused_with_a_reason(changes: dict[str, float], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        question(**changes).refuse_impossible()
