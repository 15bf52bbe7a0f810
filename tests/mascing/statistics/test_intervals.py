"""Rates and paired differences: known results, and properties that hold for any data."""

import itertools
import math
from collections.abc import Callable
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest

from mascing.errors import DataError
from mascing.schemas.verdict import Outcome
from mascing.statistics import paired_difference, rate

OUTCOMES: tuple[Outcome, ...] = ("hit", "miss", "unscored")
Row = tuple[Outcome, Outcome, str]

rows = st.lists(
    st.tuples(st.sampled_from(OUTCOMES), st.sampled_from(OUTCOMES), st.sampled_from("abcdefgh")),
    min_size=1,
    max_size=40,
)
quick = settings(max_examples=40, deadline=None)


def repeat(**counts: int) -> list[Outcome]:
    return [cast(Outcome, outcome) for outcome, count in counts.items() for _ in range(count)]


def singletons(n: int) -> list[str]:
    return [f"g{i}" for i in range(n)]


@pytest.mark.parametrize(("hits", "n"), [(0, 20), (7, 20), (20, 20), (199, 200), (500, 1000)])
def test_rate_of_independent_conversations_is_scipys_wilson_interval(hits: int, n: int) -> None:
    measured = rate(repeat(hit=hits, miss=n - hits), singletons(n))
    expected = binomtest(hits, n).proportion_ci(method="wilson")
    assert (measured.low, measured.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert (measured.value, measured.n, measured.unscored) == (hits / n, n, 0)


def score_statistic(gains: int, losses: int, n: int, difference: float) -> float:
    """Tango's statistic from a numerical maximum of the constrained likelihood."""

    def negative_log_likelihood(loss_rate: float) -> float:
        gain_rate = loss_rate + difference
        rest = 1 - gain_rate - loss_rate
        terms = [(gains, gain_rate), (losses, loss_rate), (n - gains - losses, rest)]
        return -sum(count * math.log(max(p, 1e-300)) for count, p in terms if count)

    bounds = (max(0.0, -difference), (1 - difference) / 2)
    best = float(minimize_scalar(negative_log_likelihood, bounds=bounds, method="bounded", options={"xatol": 1e-12}).x)
    return (gains - losses - n * difference) / math.sqrt(n * (2 * best + difference * (1 - difference)))


@pytest.mark.parametrize(("gains", "losses", "n"), [(12, 2, 50), (30, 30, 200), (1, 9, 40), (80, 4, 240)])
def test_paired_difference_ends_where_the_score_test_rejects(gains: int, losses: int, n: int) -> None:
    unchanged = n - gains - losses
    before = repeat(miss=gains, hit=losses + unchanged)
    after = repeat(hit=gains) + repeat(miss=losses, hit=unchanged)
    measured = paired_difference(before, after, singletons(n))
    assert measured.value == pytest.approx((gains - losses) / n)
    assert score_statistic(gains, losses, n, measured.low) == pytest.approx(1.959964, abs=1e-3)
    assert score_statistic(gains, losses, n, measured.high) == pytest.approx(-1.959964, abs=1e-3)


@pytest.mark.parametrize("n", [20, 100, 250])
def test_no_difference_at_all_still_leaves_doubt(n: int) -> None:
    measured = paired_difference(repeat(hit=n), repeat(hit=n), singletons(n))
    doubt = 1.959964**2 / (n + 1.959964**2)
    assert (measured.low, measured.value, measured.high) == pytest.approx((-doubt, 0.0, doubt), abs=1e-6)


def test_a_difference_everywhere_still_leaves_doubt() -> None:
    measured = paired_difference(repeat(miss=50), repeat(hit=50), singletons(50))
    assert measured.high == measured.value == 1
    assert 0.8 < measured.low < 0.95


def test_a_group_that_always_agrees_counts_little_more_than_once() -> None:
    outcomes = repeat(hit=100, miss=100)
    alone = rate(outcomes, singletons(200))
    together = rate(outcomes, [f"g{i // 10}" for i in range(200)])
    twenty = binomtest(10, 20).proportion_ci(method="wilson")
    assert together.high - together.low > 2.5 * (alone.high - alone.low)
    # A variance from twenty groups is uncertain, so the interval is a little wider than for twenty lone conversations.
    assert 1 < (together.high - together.low) / (twenty.high - twenty.low) < 1.15


def test_equal_outcomes_in_groups_are_less_evidence_than_alone() -> None:
    in_groups = [f"g{i // 5}" for i in range(100)]
    assert rate(repeat(hit=100), in_groups).low < rate(repeat(hit=100), singletons(100)).low - 0.01
    grouped = paired_difference(repeat(hit=100), repeat(hit=100), in_groups)
    assert grouped.low < paired_difference(repeat(hit=100), repeat(hit=100), singletons(100)).low - 0.01


@pytest.mark.parametrize("size", [1, 3, 10])
@pytest.mark.parametrize("lost", [1, 2, 4])
def test_a_few_losses_are_never_less_doubt_than_none(size: int, lost: int) -> None:
    groups = [f"g{i // size}" for i in range(240)]
    spread = {40 * place for place in range(lost)}
    after: list[Outcome] = ["miss" if i in spread else "hit" for i in range(240)]
    before = repeat(hit=240)
    assert paired_difference(before, after, groups).low < paired_difference(before, before, groups).low
    assert rate(after, groups).low < rate(before, groups).low


@pytest.mark.parametrize("size", [1, 2, 4, 5])
def test_one_more_loss_in_another_group_is_never_less_doubt(size: int) -> None:
    groups = [f"g{i // size}" for i in range(240)]
    before = repeat(hit=240)
    afters: list[list[Outcome]] = [
        ["miss" if i < 40 * lost and i % 40 == 0 else "hit" for i in range(240)] for lost in range(7)
    ]
    assert [after.count("miss") for after in afters] == [0, 1, 2, 3, 4, 5, 6]
    for fewer, more in itertools.pairwise(afters):
        assert paired_difference(before, more, groups).low < paired_difference(before, fewer, groups).low
        assert rate(more, groups).low < rate(fewer, groups).low


@pytest.mark.parametrize("hits", [0, 1, 4, 20])
def test_groups_of_equal_outcomes_count_nearly_as_one_conversation_each(hits: int) -> None:
    groups = [f"g{i // 4}" for i in range(80)]
    outcomes: list[Outcome] = ["hit" if i < 4 * hits else "miss" for i in range(80)]
    alone = rate(outcomes[::4], groups[::4])
    together = rate(outcomes, groups)
    if 0 < hits < 20:
        assert together.high == pytest.approx(alone.high, abs=0.02)
    assert together.high <= alone.high + 0.02


def test_losses_in_one_group_are_worth_less_than_losses_in_many() -> None:
    groups = [f"g{i // 6}" for i in range(240)]
    before = repeat(hit=240)
    together = paired_difference(before, repeat(miss=6, hit=234), groups)
    spread: list[Outcome] = ["miss" if i % 40 == 0 else "hit" for i in range(240)]
    assert together.low < paired_difference(before, spread, groups).low - 0.01


def test_groups_that_balance_do_not_narrow_the_interval() -> None:
    balanced = cast(list[Outcome], ["hit", "miss"] * 50)
    pairs = rate(balanced, [f"g{i // 2}" for i in range(100)])
    alone = rate(balanced, singletons(100))
    assert pairs.high - pairs.low >= alone.high - alone.low


def test_one_group_alone_gives_a_wide_interval() -> None:
    measured = rate(repeat(hit=100), ["only"] * 100)
    assert measured.low < 0.6


def test_unscored_replies_count_against_and_for() -> None:
    measured = rate(repeat(hit=40, miss=40, unscored=20), singletons(100))
    assert measured.value == 0.5
    assert (measured.n, measured.unscored) == (100, 20)
    assert measured.low == pytest.approx(binomtest(40, 100).proportion_ci(method="wilson").low)
    assert measured.high == pytest.approx(binomtest(60, 100).proportion_ci(method="wilson").high)


def test_an_unscored_side_is_bounded_by_the_side_that_is_known() -> None:
    before, after = repeat(hit=80, miss=20), repeat(hit=80, unscored=20)
    measured = paired_difference(before, after, singletons(100))
    assert (measured.value, measured.n, measured.unscored) == (0.0, 100, 20)
    worst = paired_difference(before, repeat(hit=80, miss=20), singletons(100))
    best = paired_difference(before, repeat(hit=100), singletons(100))
    assert (measured.low, measured.high) == (worst.low, best.high)


def test_nothing_scored_says_nothing() -> None:
    nothing = repeat(unscored=30)
    measured = rate(nothing, singletons(30))
    assert (measured.low, measured.value, measured.high) == pytest.approx((0.0, 0.5, 1.0), abs=1e-12)
    compared = paired_difference(nothing, nothing, singletons(30))
    assert (compared.low, compared.value, compared.high) == pytest.approx((-1.0, 0.0, 1.0), abs=1e-12)


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda: rate([], []), "no verdicts"),
        (lambda: paired_difference([], [], []), "no verdicts"),
        (lambda: rate(repeat(hit=2), ["a"]), "2 outcomes, 1 groups"),
        (lambda: paired_difference(repeat(hit=2), repeat(hit=1), ["a", "b"]), "2 and 1"),
        (lambda: rate(cast(Any, ["hit", "yes"]), ["a", "b"]), "yes"),
    ],
)
def test_what_cannot_be_counted_is_refused(call: Callable[[], object], complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        call()


@quick
@given(rows)
def test_bounds_are_ordered_and_in_range(data: list[Row]) -> None:
    before, after, groups = map(list, zip(*data, strict=True))
    measured = rate(before, groups)
    assert 0 <= measured.low <= measured.value <= measured.high <= 1
    assert measured.low < measured.high
    compared = paired_difference(before, after, groups)
    assert -1 <= compared.low <= compared.value <= compared.high <= 1
    assert compared.low < compared.high


@quick
@given(rows, st.randoms(use_true_random=False))
def test_order_and_group_names_do_not_matter(data: list[Row], random: Any) -> None:
    shuffled = list(data)
    random.shuffle(shuffled)
    renamed = [(a, b, f"other {group}") for a, b, group in shuffled]
    for original, other in ((data, shuffled), (data, renamed)):
        before, after, groups = zip(*original, strict=True)
        before_, after_, groups_ = zip(*other, strict=True)
        first, second = paired_difference(before, after, groups), paired_difference(before_, after_, groups_)
        assert (first.low, first.high) == pytest.approx((second.low, second.high), abs=1e-9)
        assert rate(before, groups).low == pytest.approx(rate(before_, groups_).low, abs=1e-9)


@quick
@given(rows)
def test_swapping_the_sides_turns_the_sign(data: list[Row]) -> None:
    before, after, groups = zip(*data, strict=True)
    forward, backward = paired_difference(before, after, groups), paired_difference(after, before, groups)
    assert (forward.low, forward.high) == pytest.approx((-backward.high, -backward.low), abs=1e-9)


@quick
@given(st.lists(st.tuples(st.sampled_from(OUTCOMES), st.sampled_from(OUTCOMES)), min_size=1, max_size=40), st.data())
def test_losing_a_verdict_never_narrows_the_bounds(data: list[tuple[Outcome, Outcome]], draw: st.DataObject) -> None:
    before, after = map(list, zip(*data, strict=True))
    lost = draw.draw(st.integers(0, len(data) - 1))
    fewer: list[Outcome] = [*after[:lost], "unscored", *after[lost + 1 :]]
    groups = singletons(len(data))
    full, less = rate(after, groups), rate(fewer, groups)
    assert less.low <= full.low + 1e-9
    assert less.high >= full.high - 1e-9
    # If a bound was stretched to contain the value, the value itself moves with the lost verdict.
    paired, paired_less = paired_difference(before, after, groups), paired_difference(before, fewer, groups)
    if "unscored" not in before + after:
        assert paired_less.low <= paired.low + 1e-9
        assert paired_less.high >= paired.high - 1e-9
