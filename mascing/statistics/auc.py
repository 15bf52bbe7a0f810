"""Area under the ROC curve with a 95% interval that knows about groups, and the difference of two areas.

Shape suffixes: P positive conversation, N negative conversation, G group.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri, stdtrit

from mascing.errors import DataError
from mascing.schemas.result import Rate
from mascing.statistics.clustering import PRIOR_CORRELATION
from mascing.statistics.score import CONFIDENCE

Floats = NDArray[np.float64]

# Conversations of one group that have both labels share what makes them hard, so groups can sharpen the estimate. How
# far is bounded: where a score is equal within every group by design, the estimate would claim certainty.
_LEAST_EFFECT = 0.1


def auc(scores: ArrayLike, labels: ArrayLike, groups: Sequence[str]) -> Rate:
    """The chance that a positive conversation scores higher than a negative one, ties by half, with its interval.

    A score interval: it keeps its width where the classes are told apart without a fault. ``groups`` count as related
    whatever their labels. Raises DataError unless both classes are there. Sources: Newcombe (2006), method 5, at the
    effective number of conversations; the clustered variance is that of Obuchowski (1997).
    """
    return _interval(_placed(scores, labels, groups))


def auc_difference(scores_a: ArrayLike, scores_b: ArrayLike, labels: ArrayLike, groups: Sequence[str]) -> Rate:
    """How much larger the area of a is than that of b on the same conversations.

    The two intervals, squared and added less what the two areas have in common. Raises DataError unless both classes
    are there. Source: Zou and Donner (2008), with the clustered covariance of Obuchowski (1997).
    """
    placed_a, placed_b = _placed(scores_a, labels, groups), _placed(scores_b, labels, groups)
    a, b = _interval(placed_a), _interval(placed_b)
    scale = sqrt(_covariance(placed_a, placed_a) * _covariance(placed_b, placed_b))
    shared = min(1.0, max(-1.0, _covariance(placed_a, placed_b) / scale)) if scale > 0 else 0.0
    value = a.value - b.value
    low = value - _added(a.value - a.low, b.high - b.value, shared)
    high = value + _added(a.high - a.value, b.value - b.low, shared)
    return Rate(value=value, low=max(-1.0, low), high=min(1.0, high), n=a.n, unscored=0)


@dataclass(frozen=True)
class _Placed:
    """Where each conversation stands among those of the other class: 1 where it is on the right side of all."""

    above_P: Floats
    below_N: Floats
    groups_P: NDArray[np.intp]
    groups_N: NDArray[np.intp]
    n_groups: int

    @property
    def area(self) -> float:
        return float(self.above_P.mean())


def _placed(scores: ArrayLike, labels: ArrayLike, groups: Sequence[str]) -> _Placed:
    values, positive = np.asarray(scores, float), np.asarray(labels) > 0
    if not len(values) == len(positive) == len(groups):
        raise DataError(f"{len(values)} scores, {len(positive)} labels and {len(groups)} groups do not fit together")
    if positive.all() or not positive.any():
        raise DataError("an ROC curve needs positive and negative conversations: there is one class only")
    names, members = np.unique(np.asarray(groups, object).astype(str), return_inverse=True)
    score_P, score_N = values[positive], values[~positive]
    return _Placed(
        _share_below(score_P, score_N),
        _share_below(-score_N, -score_P),
        members[positive],
        members[~positive],
        len(names),
    )


def _share_below(values: Floats, others: Floats) -> Floats:
    ordered = np.sort(others)
    first, last = np.searchsorted(ordered, values, "left"), np.searchsorted(ordered, values, "right")
    share: Floats = (first + last) / (2 * len(ordered))
    return share


def _interval(placed: _Placed) -> Rate:
    area, n = placed.area, len(placed.above_P) + len(placed.below_N)
    effect = _design_effect(placed)
    size_P, size_N = len(placed.above_P) / effect, len(placed.below_N) / effect
    low = _bound(area, 0.0, size_P, size_N)
    high = _bound(area, 1.0, size_P, size_N)
    return Rate(value=area, low=low, high=high, n=n, unscored=0)


def _bound(area: float, end: float, size_P: float, size_N: float) -> float:
    """The true area furthest towards ``end`` that the score test does not reject, by bisection.

    Not by a root finder of scipy: where the classes are told apart without a fault, the estimate itself is a second,
    trivial root.
    """
    z, inside, outside = float(ndtri((1 + CONFIDENCE) / 2)), area, end
    while abs(inside - outside) > 1e-9:
        middle = (inside + outside) / 2
        if abs(middle - area) <= z * sqrt(_variance(middle, size_P, size_N)):
            inside = middle
        else:
            outside = middle
    return inside


def _variance(area: float, size_P: float, size_N: float) -> float:
    """Of the estimated area, where the true one is ``area``."""
    spread = (size_P + size_N) / 2 - 1
    return area * (1 - area) * (1 + spread * ((1 - area) / (2 - area) + area / (1 + area))) / (size_P * size_N)


def _design_effect(placed: _Placed) -> float:
    """How many times the clustered variance is that of independent conversations.

    Drawn towards a prior with the weight of one among the groups that speak, those with a conversation on the wrong
    side of another one: where there is hardly any, the estimate alone would claim certainty.
    """
    sizes_G = np.bincount(np.concatenate([placed.groups_P, placed.groups_N]), minlength=placed.n_groups)
    mean_size = float(np.square(sizes_G).sum() / sizes_G.sum())
    prior = 1 + (mean_size - 1) * PRIOR_CORRELATION
    extreme = 1.0 if placed.area >= 0.5 else 0.0
    sides = ((placed.above_P, placed.groups_P), (placed.below_N, placed.groups_N))
    speaking = min(len(np.unique(groups[values != extreme])) for values, groups in sides)
    if speaking == 0 or placed.n_groups == 1:
        return prior
    estimate = _covariance(placed, placed) / _variance(placed.area, len(placed.above_P), len(placed.below_N))
    if estimate > 1 and mean_size > 1:
        estimate *= _widening(placed.n_groups)
    return ((speaking - 1) * max(estimate, _LEAST_EFFECT) + max(estimate, prior)) / speaking


def _widening(n_groups: int) -> float:
    """The square of Student's over the normal quantile: a variance from few groups is unsure."""
    confidence = (1 + CONFIDENCE) / 2
    return float(stdtrit(max(1, n_groups - 2), confidence) / ndtri(confidence)) ** 2


def _covariance(a: _Placed, b: _Placed) -> float:
    """Of two areas on the same conversations, clustered by group."""
    if a.n_groups < 2:
        return 0.0
    total_G = _pull(a) * _pull(b)
    return float(total_G.sum()) * a.n_groups / (a.n_groups - 1)


def _pull(placed: _Placed) -> Floats:
    """What each group adds to the estimated area, [G]."""
    above_G = np.bincount(placed.groups_P, placed.above_P - placed.area, placed.n_groups) / len(placed.above_P)
    below_G = np.bincount(placed.groups_N, placed.below_N - placed.area, placed.n_groups) / len(placed.below_N)
    pull_G: Floats = above_G + below_G
    return pull_G


def _added(first: float, second: float, shared: float) -> float:
    return sqrt(max(0.0, first**2 + second**2 - 2 * shared * first * second))
