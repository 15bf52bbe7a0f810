"""How much less conversations of one group tell than as many from different groups: Kish's design effect.

Shape suffixes: R repeat (one for real data, many in a simulation), N conversation, G group.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from mascing.errors import DataError

Floats = NDArray[np.float64]
Members = NDArray[np.intp]

# Within-group correlation that is assumed when too few groups are informative, and how many are too few. It matters
# when nearly all outcomes are equal (a rate near 0 or 1, a mask that changes almost nothing). Both were chosen by
# simulation on beta-binomial groups, tests/bench/interval_coverage.py. Dropping the assumption at the third informative
# group would bring coverage even closer to 95%, but then a loss in a third group would narrow the interval and help a
# mask.
PRIOR_CORRELATION = 0.2
PRIOR_GROUPS = 2


def members_of(groups: Sequence[str], n: int) -> Members:
    """Return the index of each conversation's group, [N]. Raises DataError unless there are ``n`` names."""
    if len(groups) != n:
        raise DataError(f"every outcome needs its group: {n} outcomes, {len(groups)} groups")
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(group, len(numbers)) for group in groups], dtype=np.intp)


def group_sums(values_RN: Floats, members_N: Members) -> Floats:
    """Return the sum over each group, [R, G]."""
    order_N = np.argsort(members_N, kind="stable")
    starts_G = np.flatnonzero(np.diff(members_N[order_N], prepend=-1))
    return np.add.reduceat(values_RN[:, order_N], starts_G, axis=1)


def design_effect(values_RN: Floats, members_N: Members) -> Floats:
    """Return the ratio of the clustered variance of the mean to that of independent conversations, at least 1, [R].

    This is the linearised estimate, widened if few groups are informative. A group is informative if it holds anything
    but one common value (of -1, 0 and 1). With at most PRIOR_GROUPS informative groups, the prior replaces a smaller
    estimate: two groups can show that outcomes cluster, but hardly that they do not. Beyond that, the prior's weight
    falls with the power 1.5 of the number of informative groups.
    """
    n, sizes_G = len(members_N), np.bincount(members_N)
    if len(sizes_G) == n:
        return np.ones(len(values_RN))
    mean_size = float(np.square(sizes_G).sum()) / n
    prior = 1 + (mean_size - 1) * PRIOR_CORRELATION
    if len(sizes_G) == 1:
        return np.full(len(values_RN), prior)
    informative_R = _informative(values_RN, members_N)
    estimate_R = _widened(_estimate(values_RN, members_N), informative_R, mean_size, len(sizes_G))
    weight_R = (PRIOR_GROUPS / np.maximum(informative_R, PRIOR_GROUPS)) ** 1.5
    shrunk_R: Floats = (1 - weight_R) * estimate_R + weight_R * np.maximum(estimate_R, prior)
    return shrunk_R


def _informative(values_RN: Floats, members_N: Members) -> NDArray[np.intp]:
    """Return the number of groups that hold anything but the most common single value, [R]."""
    others = [(group_sums((values_RN != value).astype(float), members_N) > 0).sum(1) for value in (-1.0, 0.0, 1.0)]
    fewest_R: NDArray[np.intp] = np.min(others, axis=0)
    return fewest_R


def _estimate(values_RN: Floats, members_N: Members) -> Floats:
    """Return the variance of the group sums relative to independent conversations, at least 1, [R]."""
    n, n_groups = len(members_N), int(members_N.max()) + 1
    residuals_RN = values_RN - values_RN.mean(1, keepdims=True)
    spread_R = np.square(residuals_RN).sum(1)
    between_R = np.square(group_sums(residuals_RN, members_N)).sum(1)
    correction = n_groups / (n_groups - 1) * (n - 1) / n
    ratio_R: Floats = np.maximum(1.0, correction * between_R / np.where(spread_R > 0, spread_R, 1.0))
    return ratio_R


def _widened(estimate_R: Floats, informative_R: NDArray[np.intp], mean_size: float, n_groups: int) -> Floats:
    """Widen the estimate by the squared ratio of Student's to the normal quantile: few groups make it uncertain.

    The widening is proportional to the root of the estimated correlation: without correlation, conversations count and
    not groups. It never exceeds the design effect of groups with equal outcomes, where each group is one certain
    observation and nothing is estimated.
    """
    freedom_R = np.clip(informative_R, 1, n_groups - 1)
    student_R = np.square(stdtrit(freedom_R, 0.975) / ndtri(0.975))
    correlation_R = np.clip((estimate_R - 1) / (mean_size - 1), 0, 1)
    widened_R = estimate_R * (1 + np.sqrt(correlation_R) * (student_R - 1))
    capped_R: Floats = np.minimum(widened_R, np.maximum(estimate_R, mean_size))
    return capped_R
