"""Area under the ROC curve with a 95% interval clustered by group, and the difference of two areas.

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

# Conversations of one group with different labels share their difficulty, so grouping can narrow the interval. A bound
# limits this: if a score is equal within every group by design, the estimate would claim certainty.
_LEAST_EFFECT = 0.1


def auc(scores: ArrayLike, labels: ArrayLike, groups: Sequence[str]) -> Rate:
    """Return the chance that a positive conversation scores higher than a negative one, with its interval.

    Ties count half. The score interval keeps its width if the classes separate perfectly. Conversations of one group
    count as related whatever their labels. Raises DataError if a class is missing. Sources: Newcombe (2006), method 5,
    at the effective number of conversations; clustered variance by Obuchowski (1997).
    """
    return _interval(_ranks(scores, labels, groups))


def auc_difference(scores_a: ArrayLike, scores_b: ArrayLike, labels: ArrayLike, groups: Sequence[str]) -> Rate:
    """Return how much larger the area of a is than that of b on the same conversations.

    The interval combines the squared widths of both intervals, less the covariance of the areas. Raises DataError if a
    class is missing. Source: Zou and Donner (2008), with the clustered covariance of Obuchowski (1997).
    """
    ranks_a, ranks_b = _ranks(scores_a, labels, groups), _ranks(scores_b, labels, groups)
    a, b = _interval(ranks_a), _interval(ranks_b)
    scale = sqrt(_covariance(ranks_a, ranks_a) * _covariance(ranks_b, ranks_b))
    shared = min(1.0, max(-1.0, _covariance(ranks_a, ranks_b) / scale)) if scale > 0 else 0.0
    value = a.value - b.value
    low = value - _added(a.value - a.low, b.high - b.value, shared)
    high = value + _added(a.high - a.value, b.value - b.low, shared)
    return Rate(value=value, low=max(-1.0, low), high=min(1.0, high), n=a.n, unscored=0)


@dataclass(frozen=True)
class _Ranks:
    """The rank of each conversation among those of the other class: 1 if it is on the right side of all."""

    above_P: Floats
    below_N: Floats
    groups_P: NDArray[np.intp]
    groups_N: NDArray[np.intp]
    n_groups: int

    @property
    def area(self) -> float:
        return float(self.above_P.mean())


def _ranks(scores: ArrayLike, labels: ArrayLike, groups: Sequence[str]) -> _Ranks:
    values, positive = np.asarray(scores, float), np.asarray(labels) > 0
    if not len(values) == len(positive) == len(groups):
        raise DataError(f"{len(values)} scores, {len(positive)} labels and {len(groups)} groups do not fit together")
    if positive.all() or not positive.any():
        raise DataError("an ROC curve needs positive and negative conversations: there is only one class")
    names, members = np.unique(np.asarray(groups, object).astype(str), return_inverse=True)
    score_P, score_N = values[positive], values[~positive]
    return _Ranks(
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


def _interval(ranks: _Ranks) -> Rate:
    area, n = ranks.area, len(ranks.above_P) + len(ranks.below_N)
    effect = _design_effect(ranks)
    size_P, size_N = len(ranks.above_P) / effect, len(ranks.below_N) / effect
    low = _bound(area, 0.0, size_P, size_N)
    high = _bound(area, 1.0, size_P, size_N)
    return Rate(value=area, low=low, high=high, n=n, unscored=0)


def _bound(area: float, end: float, size_P: float, size_N: float) -> float:
    """Return the true area furthest towards ``end`` that the score test does not reject, by bisection.

    A root finder of scipy does not work here: if the classes separate perfectly, the estimate itself is a second,
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
    """Return the variance of the estimated area if the true one is ``area``."""
    spread = (size_P + size_N) / 2 - 1
    return area * (1 - area) * (1 + spread * ((1 - area) / (2 - area) + area / (1 + area))) / (size_P * size_N)


def _design_effect(ranks: _Ranks) -> float:
    """Return the ratio of the clustered variance to that of independent conversations.

    The estimate shrinks towards a prior. The prior has the weight of one informative group, that is, a group with a
    conversation on the wrong side of another. With hardly any such group, the estimate alone would claim certainty.
    """
    sizes_G = np.bincount(np.concatenate([ranks.groups_P, ranks.groups_N]), minlength=ranks.n_groups)
    mean_size = float(np.square(sizes_G).sum() / sizes_G.sum())
    prior = 1 + (mean_size - 1) * PRIOR_CORRELATION
    extreme = 1.0 if ranks.area >= 0.5 else 0.0
    sides = ((ranks.above_P, ranks.groups_P), (ranks.below_N, ranks.groups_N))
    informative = min(len(np.unique(groups[values != extreme])) for values, groups in sides)
    if informative == 0 or ranks.n_groups == 1:
        return prior
    estimate = _covariance(ranks, ranks) / _variance(ranks.area, len(ranks.above_P), len(ranks.below_N))
    if estimate > 1 and mean_size > 1:
        estimate *= _widening(ranks.n_groups)
    return ((informative - 1) * max(estimate, _LEAST_EFFECT) + max(estimate, prior)) / informative


def _widening(n_groups: int) -> float:
    """Return the squared ratio of Student's to the normal quantile: few groups give an uncertain variance."""
    confidence = (1 + CONFIDENCE) / 2
    return float(stdtrit(max(1, n_groups - 2), confidence) / ndtri(confidence)) ** 2


def _covariance(a: _Ranks, b: _Ranks) -> float:
    """Return the covariance of two areas on the same conversations, clustered by group."""
    if a.n_groups < 2:
        return 0.0
    products_G = _contributions(a) * _contributions(b)
    return float(products_G.sum()) * a.n_groups / (a.n_groups - 1)


def _contributions(ranks: _Ranks) -> Floats:
    """Return the contribution of each group to the estimated area, [G]."""
    above_G = np.bincount(ranks.groups_P, ranks.above_P - ranks.area, ranks.n_groups) / len(ranks.above_P)
    below_G = np.bincount(ranks.groups_N, ranks.below_N - ranks.area, ranks.n_groups) / len(ranks.below_N)
    contributions_G: Floats = above_G + below_G
    return contributions_G


def _added(first: float, second: float, shared: float) -> float:
    return sqrt(max(0.0, first**2 + second**2 - 2 * shared * first * second))
