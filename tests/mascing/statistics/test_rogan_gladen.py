"""Rates corrected for a judge's error: known results, and limits that hold for any numbers."""

from math import inf, sqrt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from mascing.schemas.result import Rate
from mascing.statistics.rogan_gladen import (
    Interval,
    corrected_difference,
    corrected_rate,
    difference_interval,
    rate_interval,
)

PERFECT = Rate(value=1, low=1, high=1, n=100, unscored=0)


def measured(value: float, low: float, high: float) -> Rate:
    return Rate(value=value, low=low, high=high, n=100, unscored=0)


shares = st.floats(0.01, 0.99)
margins = st.floats(0.001, 0.2)
intervals = st.builds(lambda value, down, up: Interval(value, value - down, value + up), shares, margins, margins)


def test_a_perfect_judge_changes_nothing() -> None:
    rate, change = measured(0.4, 0.3, 0.52), measured(-0.1, -0.2, 0.02)
    found = corrected_rate(rate, PERFECT, PERFECT)
    assert (found.value, found.low, found.high) == pytest.approx((0.4, 0.3, 0.52))
    found = corrected_difference(change, PERFECT, PERFECT)
    assert (found.value, found.low, found.high) == pytest.approx((-0.1, -0.2, 0.02))


def test_a_known_correction() -> None:
    # Rogan and Gladen: 0.4 found by a judge that finds 80% of the hits and takes 10% of the misses for hits.
    se, sp = measured(0.8, 0.8, 0.8), measured(0.9, 0.9, 0.9)
    found = corrected_rate(measured(0.4, 0.3, 0.5), se, sp)
    assert (found.value, found.low, found.high) == pytest.approx((3 / 7, 2 / 7, 4 / 7))
    found = corrected_difference(measured(0.35, 0.21, 0.42), se, sp)
    assert (found.value, found.low, found.high) == pytest.approx((0.5, 0.3, 0.6))


def test_a_judge_that_may_know_nothing_leaves_everything_open() -> None:
    guessing = measured(0.5, 0.4, 0.6)
    assert corrected_rate(measured(0.5, 0.45, 0.55), guessing, guessing).model_dump() == {
        "value": 0.5, "low": 0.0, "high": 1.0,
    }  # fmt: skip
    assert rate_interval(Interval(0.5, 0.4, 0.6), Interval(0.5, 0.2, 0.9), Interval(0.6, 0.2, 0.9))[1:] == (-inf, inf)
    assert corrected_difference(measured(0.1, -0.1, 0.2), guessing, guessing).low == -1


@pytest.mark.parametrize(("found", "edge"), [((0.0, 0.0, 0.019), 0.0), ((1.0, 0.981, 1.0), 1.0)])
def test_a_sample_that_contradicts_the_calibration_leaves_the_doubt_of_one_at_the_edge(
    found: tuple[float, float, float], edge: float
) -> None:
    se = sp = measured(0.8, 0.75, 0.84)
    corrected = corrected_rate(measured(*found), se, sp)
    assert corrected.value == edge
    at_edge = corrected_rate(measured(abs(edge - 0.2), *(abs(edge - 0.2) + end - edge for end in found[1:])), se, sp)
    assert (corrected.low, corrected.high) == pytest.approx((at_edge.low, at_edge.high))
    assert corrected.high - corrected.low > 0.05


def test_a_difference_beyond_what_the_judge_can_show_is_no_certainty() -> None:
    se = sp = measured(0.8, 0.78, 0.82)
    changes = measured(0.9, 0.8, 0.95), measured(-0.9, -0.95, -0.8)
    gain, loss = (corrected_difference(change, se, sp) for change in changes)
    assert (gain.value, gain.high) == (1.0, 1.0)
    assert gain.low < 0.9
    assert (loss.low, loss.high) == pytest.approx((-1.0, -gain.low))


@settings(max_examples=150, deadline=None)
@given(intervals, intervals, intervals)
def test_the_ends_are_where_the_recovered_interval_leaves_zero(p: Interval, se: Interval, sp: Interval) -> None:
    informed = se.value + sp.value - 1
    value, low, high = rate_interval(p, se, sp)
    if informed <= 0.05:
        return
    assert value == pytest.approx((p.value + sp.value - 1) / informed)

    def least(theta: float) -> float:
        """The lower end of p - θ Se - (1 - θ)(1 - Sp) by variance recovery, for θ from 0 to 1."""
        spread = (p.value - p.low) ** 2 + (theta * (se.high - se.value)) ** 2 + ((1 - theta) * (sp.value - sp.low)) ** 2
        return p.value - theta * se.value - (1 - theta) * (1 - sp.value) - sqrt(spread)

    def most(theta: float) -> float:
        spread = (
            (p.high - p.value) ** 2 + (theta * (se.value - se.low)) ** 2 + ((1 - theta) * (sp.high - sp.value)) ** 2
        )
        return p.value - theta * se.value - (1 - theta) * (1 - sp.value) + sqrt(spread)

    inner = min(1.0, max(0.0, value))
    if least(0.0) > 0 and least(inner) < 0:
        assert low == pytest.approx(brentq(least, 0.0, inner), abs=1e-6)
    elif least(0.0) <= 0 and 0 <= value <= 1:
        assert low <= 1e-9
    assert low < 1
    assert high > 0
    if most(1.0) < 0 and most(inner) > 0:
        assert high == pytest.approx(brentq(most, inner, 1.0), abs=1e-6)


@settings(max_examples=100, deadline=None)
@given(st.floats(-0.9, 0.9), margins, margins, intervals, intervals)
def test_a_difference_turned_round_has_its_interval_turned_round(
    value: float, down: float, up: float, se: Interval, sp: Interval
) -> None:
    d, turned = Interval(value, value - down, value + up), Interval(-value, -value - up, -value + down)
    found, mirrored = difference_interval(d, se, sp), difference_interval(turned, se, sp)
    assert found.low == pytest.approx(-mirrored.high)
    assert found.low <= found.value <= found.high
    # A judge that is better than a coin keeps the sign of a sure difference.
    if d.low > 0 and se.value + sp.value > 1.05:
        assert found.low > 0
