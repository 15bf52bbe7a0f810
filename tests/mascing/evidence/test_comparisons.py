"""The paired test and its interval, multiplicity and agreement, checked against known results."""

from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.contingency_tables import mcnemar

from mascing.schemas.verdict import Outcome
from mascing.statistics import holm, kappa, paired_difference, paired_p

OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
LETTERS: dict[str, Outcome] = {"h": "hit", "m": "miss", "u": "unscored"}


def outcomes(letters: str) -> list[Outcome]:
    return [LETTERS[letter] for letter in letters]


def alone(n: int) -> list[str]:
    return [f"g{i}" for i in range(n)]


def in_groups(n: int, size: int) -> list[str]:
    return [f"g{i // size}" for i in range(n)]


@st.composite
def pairs(draw: st.DrawFn) -> tuple[list[Outcome], list[Outcome], list[str]]:
    """Two sides on the same conversations, in groups, most of them equal on both sides."""
    n, size = draw(st.integers(1, 80)), draw(st.integers(1, 8))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    scored = rng.dirichlet([0.6, 0.6, draw(st.sampled_from([1e-9, 0.15]))], size=2)
    sides = np.array([rng.choice(3, n, p=side) for side in scored])
    sides[1] = np.where(rng.random(n) < draw(st.sampled_from([0.0, 0.5, 0.9])), sides[0], sides[1])
    before, after = ([OUTCOMES[number] for number in side] for side in sides)
    return before, after, in_groups(n, size)


@settings(max_examples=150, deadline=None)
@given(pairs())
def test_p_is_below_5_percent_exactly_where_the_interval_leaves_out_0(
    sides: tuple[list[Outcome], list[Outcome], list[str]],
) -> None:
    difference, p = paired_difference(*sides), paired_p(*sides)
    assert (p < 0.05) == (difference.low > 0 or difference.high < 0)


@pytest.mark.parametrize(
    ("gains", "losses", "sure"), [(5, 0, True), (4, 0, True), (3, 0, False), (0, 5, True), (9, 2, True), (9, 3, False)]
)
def test_a_few_gains_of_a_hundred_are_either_sure_by_both_or_by_none(gains: int, losses: int, sure: bool) -> None:
    before = outcomes("m" * gains + "h" * losses + "m" * (100 - gains - losses))
    after = outcomes("h" * gains + "m" * losses + "m" * (100 - gains - losses))
    difference, p = paired_difference(before, after, alone(100)), paired_p(before, after, alone(100))
    assert (difference.low > 0 or difference.high < 0) == (p < 0.05) == sure


@pytest.mark.parametrize(("gains", "losses"), [(10, 2), (3, 3), (7, 0), (0, 12)])
def test_the_test_is_mcnemars_score_test_on_independent_conversations(gains: int, losses: int) -> None:
    before = outcomes("m" * gains + "h" * losses + "hm" * 10)
    after = outcomes("h" * gains + "m" * losses + "hm" * 10)
    expected = mcnemar([[0, gains], [losses, 0]], exact=False, correction=False).pvalue
    assert paired_p(before, after, alone(len(before))) == pytest.approx(expected)


def test_a_gain_in_few_groups_is_less_sure() -> None:
    before, after = outcomes("m" * 12 + "hm" * 20), outcomes("h" * 12 + "hm" * 20)
    assert paired_p(before, after, alone(52)) < 0.001
    assert paired_p(before, after, in_groups(52, 4)) > 0.05


def test_unscored_replies_make_a_difference_less_sure() -> None:
    before, after = outcomes("m" * 12 + "h" * 8), outcomes("h" * 12 + "h" * 8)
    lost = outcomes("h" * 9 + "u" * 3 + "h" * 8)
    assert paired_p(before, lost, alone(20)) > paired_p(before, after, alone(20))
    assert paired_p(before, outcomes("u" * 20), alone(20)) == 1


def test_equal_sides_are_no_evidence() -> None:
    unchanged = outcomes("hm" * 10)
    assert paired_p(unchanged, unchanged, alone(20)) == 1


def test_holm_multiplies_by_what_is_left_and_keeps_the_order() -> None:
    adjusted = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert adjusted == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02})
    assert holm({}) == {}


def test_kappa_is_agreement_beyond_chance() -> None:
    # The example of Cohen (1960): 20, 5, 10, 15 of 50.
    first = outcomes("h" * 25 + "m" * 25)
    second = outcomes("h" * 20 + "m" * 5 + "h" * 10 + "m" * 15)
    agreement = kappa(first, second, alone(50))
    assert agreement.value == pytest.approx(0.4)
    assert agreement.low < 0.4 < agreement.high
    together = kappa(first, second, in_groups(50, 5))
    assert together.low < agreement.low


def test_judges_that_always_agree_are_sure_only_with_many_conversations() -> None:
    few, many = outcomes("hm" * 4), outcomes("hm" * 100)
    assert kappa(few, few, alone(8)).value == kappa(many, many, alone(200)).value == 1
    assert kappa(few, few, alone(8)).low < 0.5
    assert kappa(many, many, alone(200)).low > 0.9


def test_judges_who_say_one_thing_only_agree_by_chance() -> None:
    agreement = kappa(outcomes("h" * 40), outcomes("h" * 40), alone(40))
    assert (agreement.value, agreement.low) == (0, 0)


def test_unscored_pairs_widen_kappa_both_ways() -> None:
    first, second = outcomes("hm" * 20), outcomes("hm" * 15 + "u" * 10)
    agreement, full = kappa(first, second, alone(40)), kappa(first, outcomes("hm" * 20), alone(40))
    assert agreement.unscored == 10
    assert agreement.low < full.low - 0.2
    assert agreement.value == 1


def test_kappa_holds_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    inside = 0
    for _ in range(120):
        rates = np.repeat(rng.beta(0.8 * 4, 0.2 * 4, size=40), 3)  # share that agrees, by group
        label = rng.random(120) < 0.5
        agrees = rng.random(120) < rates
        judged: list[Outcome] = ["hit" if hit else "miss" for hit in label == agrees]
        labels: list[Outcome] = ["hit" if hit else "miss" for hit in label]
        agreement = kappa(labels, judged, in_groups(120, 3))
        inside += agreement.low <= 0.6 <= agreement.high
    assert 0.91 <= inside / 120 <= 0.985
