"""Rates and differences of rates corrected for a judge's known error, with the calibration's own uncertainty.

A judge of sensitivity Se and specificity Sp finds hits in p = θ Se + (1 - θ)(1 - Sp) of the replies if θ is the true
rate. So θ = (p + Sp - 1) / (Se + Sp - 1) (Rogan and Gladen 1978), and a difference of two rates is divided by the same
Se + Sp - 1.

The interval holds the values of θ that the three intervals do not contradict together: those for which the interval of
p - θ Se - (1 - θ)(1 - Sp), recovered from the intervals of p, Se and Sp, contains 0. Source: the method of variance
estimates recovery (Zou and Donner 2008), solved for the ratio as Fieller (1954) does. What the three intervals carry –
groups, unscored replies, few labels – is so carried over.

Where a sample contradicts the calibration, as no hit in 200 by a judge that takes a fifth of the misses for hits, all
of the interval lies beyond 0 or 1. Cut there it would be [0, 0], without a doubt. It is then that of an estimate at the
edge.
"""

from collections.abc import Callable
from math import hypot, inf, sqrt
from typing import NamedTuple

from mascing.schemas.result import Corrected, Rate


class Interval(NamedTuple):
    """An estimate and the ends of its 95% interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, rate: Rate) -> "Interval":
        """That of a rate or of a difference of rates."""
        return cls(rate.value, rate.low, rate.high)


def corrected_rate(rate: Rate, sensitivity: Rate, specificity: Rate) -> Corrected:
    """The true rate behind the share of hits ``rate`` that a judge found, from 0 to 1.

    It is 0.5, from 0 to 1, if the judge may be no better than a coin.
    """
    return _within(0.0, rate_interval, rate, sensitivity, specificity)


def corrected_difference(difference: Rate, sensitivity: Rate, specificity: Rate) -> Corrected:
    """The true difference of two rates behind the paired ``difference`` that one judge found, from -1 to 1.

    It is 0, from -1 to 1, if the judge may be no better than a coin.
    """
    return _within(-1.0, difference_interval, difference, sensitivity, specificity)


def rate_interval(p: Interval, se: Interval, sp: Interval) -> Interval:
    """The corrected rate, not cut at 0 and 1; an end that nothing bounds is infinite."""
    informed = se.value + sp.value - 1
    if informed <= 0:
        return Interval(0.5, -inf, inf)
    value = (p.value + sp.value - 1) / informed
    low = _within_reach(value, informed, p.value - p.low, se.high - se.value, sp.value - sp.low)
    # The misses' rate is corrected alike, with the sides exchanged.
    high = 1 - _within_reach(1 - value, informed, p.high - p.value, sp.high - sp.value, se.value - se.low)
    return Interval(value, low, high)


def difference_interval(d: Interval, se: Interval, sp: Interval) -> Interval:
    """The corrected difference, not cut at -1 and 1; an end that nothing bounds is infinite."""
    informed = se.value + sp.value - 1
    if informed <= 0:
        return Interval(0.0, -inf, inf)
    return Interval(
        d.value / informed,
        _lower_difference(d, se, sp, informed),
        -_lower_difference(Interval(-d.value, -d.high, -d.low), se, sp, informed),
    )


def _within(
    least: float,
    interval: Callable[[Interval, Interval, Interval], Interval],
    measured: Rate,
    sensitivity: Rate,
    specificity: Rate,
) -> Corrected:
    se, sp = Interval.of(sensitivity), Interval.of(specificity)
    if _may_be_a_coin(se, sp):
        return Corrected(value=(least + 1) / 2, low=least, high=1.0)
    value, low, high = (min(1.0, max(least, end)) for end in interval(Interval.of(measured), se, sp))
    return Corrected(value=value, low=min(low, value), high=max(high, value))


def _may_be_a_coin(se: Interval, sp: Interval) -> bool:
    """Whether the interval of Se + Sp - 1 reaches 0: then the judge may find hits and misses alike."""
    return se.value + sp.value - 1 <= hypot(se.value - se.low, sp.value - sp.low)


def _within_reach(value: float, informed: float, below_p: float, above_se: float, below_sp: float) -> float:
    """The least θ; that of an estimate of 1 if all of the interval would lie beyond 1."""
    low = _lower(value, informed, below_p, above_se, below_sp)
    return low if low < 1 else _lower(1.0, informed, below_p, above_se, below_sp)


def _lower(value: float, informed: float, below_p: float, above_se: float, below_sp: float) -> float:
    """The least θ: the left root of (informed (value - θ))² = below_p² + (θ above_se)² + ((1 - θ) below_sp)²."""
    return _left_root(
        informed**2 - above_se**2 - below_sp**2,
        -2 * informed**2 * value + 2 * below_sp**2,
        (informed * value) ** 2 - below_p**2 - below_sp**2,
        above=value > 0,
    )


def _lower_difference(d: Interval, se: Interval, sp: Interval, informed: float) -> float:
    """The least δ: the left root of (d - δ informed)² = (d - its low end)² + δ² (margin of Se and Sp)²."""
    # A gain that is sure is least if the judge errs little, one that may be a loss if it errs much.
    sure = d.low > 0
    margin_se, margin_sp = (each.high - each.value if sure else each.value - each.low for each in (se, sp))
    low = _left_root(
        informed**2 - margin_se**2 - margin_sp**2,
        -2 * d.value * informed,
        d.value**2 - (d.value - d.low) ** 2,
        above=d.value > 0,
    )
    if low < 1:
        return low
    # Of an estimate of 1, with the same relative doubt, so that what is surely a gain stays one.
    scale = informed / d.value
    return _lower_difference(Interval(informed, d.low * scale, d.high * scale), se, sp, informed)


def _left_root(a: float, b: float, c: float, above: bool) -> float:
    """The smaller root of a x² + b x + c, or minus infinity where a judge this uncertain excludes nothing (a ≤ 0).

    If the estimate is ``above`` 0 and c > 0, all up to 0 is excluded whatever a is: the root is that above 0.
    """
    root = sqrt(max(0.0, b * b - 4 * a * c))
    if above and c > 0:
        return 2 * c / (root - b)  # (-b - root) / (2 a), and sound where a is 0
    return (-b - root) / (2 * a) if a > 0 else -inf
