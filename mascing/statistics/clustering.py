"""How much conversations of one group tell less than as many of different groups: Kish's design effect.

Shape suffixes: R repeat (one for real data, many in a simulation), N conversation, G group.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from mascing.errors import DataError

Floats = NDArray[np.float64]
Members = NDArray[np.intp]

# Within-group correlation that is assumed where the data cannot tell, and the groups that tell too little. It matters
# where nearly all outcomes are equal (a rate near 0 or 1, a mask that changes next to nothing). Chosen by simulation on
# beta-binomial groups, tests/bench/interval_coverage.py. If the assumption ended with the third group that speaks,
# coverage would be nearer to 95% still, but a loss in a third group would then narrow an interval, and help a mask.
PRIOR_CORRELATION = 0.2
PRIOR_GROUPS = 2


def members_of(groups: Sequence[str], n: int) -> Members:
    """Index of each conversation's group, [N]. Raises DataError unless there are ``n``."""
    if len(groups) != n:
        raise DataError(f"every outcome needs its group: {n} outcomes, {len(groups)} groups")
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(group, len(numbers)) for group in groups], dtype=np.intp)


def group_sums(values_RN: Floats, members_N: Members) -> Floats:
    """Sum over each group, [R, G]."""
    order_N = np.argsort(members_N, kind="stable")
    starts_G = np.flatnonzero(np.diff(members_N[order_N], prepend=-1))
    return np.add.reduceat(values_RN[:, order_N], starts_G, axis=1)


def design_effect(values_RN: Floats, members_N: Members) -> Floats:
    """How many times the clustered variance of the mean is that of independent conversations; at least 1. [R]

    The linearised estimate, widened where few groups speak: those that hold anything but one common value (of -1, 0 and
    1). Where no more than PRIOR_GROUPS do, the prior's instead if that is more: two groups can show that outcomes
    cluster, hardly that they do not. From there on its weight falls with the power 1.5 of the groups that speak.
    """
    n, sizes_G = len(members_N), np.bincount(members_N)
    if len(sizes_G) == n:
        return np.ones(len(values_RN))
    mean_size = float(np.square(sizes_G).sum()) / n
    prior = 1 + (mean_size - 1) * PRIOR_CORRELATION
    if len(sizes_G) == 1:
        return np.full(len(values_RN), prior)
    speaking_R = _speaking(values_RN, members_N)
    estimate_R = _widened(_estimate(values_RN, members_N), speaking_R, mean_size, len(sizes_G))
    weight_R = (PRIOR_GROUPS / np.maximum(speaking_R, PRIOR_GROUPS)) ** 1.5
    drawn_R: Floats = (1 - weight_R) * estimate_R + weight_R * np.maximum(estimate_R, prior)
    return drawn_R


def _speaking(values_RN: Floats, members_N: Members) -> NDArray[np.intp]:
    """Number of groups that hold anything but the value that most groups hold alone, [R]."""
    others = [(group_sums((values_RN != value).astype(float), members_N) > 0).sum(1) for value in (-1.0, 0.0, 1.0)]
    fewest_R: NDArray[np.intp] = np.min(others, axis=0)
    return fewest_R


def _estimate(values_RN: Floats, members_N: Members) -> Floats:
    """Variance of the group sums over that of independent conversations, 1 where it is less, [R]."""
    n, n_groups = len(members_N), int(members_N.max()) + 1
    residuals_RN = values_RN - values_RN.mean(1, keepdims=True)
    spread_R = np.square(residuals_RN).sum(1)
    between_R = np.square(group_sums(residuals_RN, members_N)).sum(1)
    correction = n_groups / (n_groups - 1) * (n - 1) / n
    ratio_R: Floats = np.maximum(1.0, correction * between_R / np.where(spread_R > 0, spread_R, 1.0))
    return ratio_R


def _widened(estimate_R: Floats, speaking_R: NDArray[np.intp], mean_size: float, n_groups: int) -> Floats:
    """The estimate times the square of Student's over the normal quantile: a variance from few groups is unsure.

    In proportion to the root of the correlation found: without any, conversations count and not groups. Never beyond
    what groups of equal outcomes have: then every group is one sure observation, and nothing is estimated.
    """
    freedom_R = np.clip(speaking_R, 1, n_groups - 1)
    student_R = np.square(stdtrit(freedom_R, 0.975) / ndtri(0.975))
    correlation_R = np.clip((estimate_R - 1) / (mean_size - 1), 0, 1)
    widened_R = estimate_R * (1 + np.sqrt(correlation_R) * (student_R - 1))
    capped_R: Floats = np.minimum(widened_R, np.maximum(estimate_R, mean_size))
    return capped_R
