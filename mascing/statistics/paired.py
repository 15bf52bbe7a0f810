"""Tests of a paired difference: could both sides have the same rate, with the difference due to chance?

Shape suffixes: N conversation, G group.
"""

from collections.abc import Callable, Sequence

import numpy as np

from mascing.schemas.verdict import Outcome
from mascing.statistics.clustering import Floats, Members, group_sums, members_of
from mascing.statistics.intervals import paired_scores

_Test = Callable[[Floats], float]


def mcnemar(outcomes_a: Sequence[Outcome], outcomes_b: Sequence[Outcome]) -> float:
    """Return the two-sided exact p-value of McNemar's test, which treats conversations as independent.

    Among the pairs that differ, the null hypothesis expects as many gains as losses. Unscored outcomes count in the way
    that makes the difference least certain. Raises DataError if there is nothing to count or the pairs do not match.
    Source: McNemar (1947), by statsmodels.
    """
    from statsmodels.stats.contingency_tables import mcnemar as test

    def p_value(differences_N: Floats) -> float:
        gains, losses = int((differences_N > 0).sum()), int((differences_N < 0).sum())
        return float(test([[0, gains], [losses, 0]], exact=True).pvalue)

    return _least_sure(outcomes_a, outcomes_b, p_value)


def cluster_permutation(outcomes_a: Sequence[Outcome], outcomes_b: Sequence[Outcome], groups: Sequence[str]) -> float:
    """Return the two-sided exact p-value of the permutation test that swaps the two sides of whole groups.

    With one conversation per group, this is McNemar's test. A convolution of the groups' sums counts all swaps, so the
    test draws none and needs no seed. Unscored outcomes count as in :func:`mcnemar`. Raises the errors of that
    function, and DataError if a group is missing.
    """
    members_N = members_of(groups, len(outcomes_a))
    return _least_sure(outcomes_a, outcomes_b, lambda differences_N: _swap_test(differences_N, members_N))


def _swap_test(differences_N: Floats, members_N: Members) -> float:
    sums_G = np.abs(group_sums(differences_N[None], members_N)[0]).astype(int)
    # Probability of each total of the groups' sums under random signs; index `reach` is a total of zero.
    chances, reach = np.ones(1), 0
    for size in sums_G[sums_G > 0].tolist():
        wider = np.zeros(len(chances) + 2 * size)
        wider[: len(chances)] += chances / 2
        wider[2 * size :] += chances / 2
        chances, reach = wider, reach + size
    totals = np.abs(np.arange(-reach, reach + 1))
    return min(1.0, float(chances[totals >= abs(round(float(differences_N.sum())))].sum()))


def _least_sure(
    outcomes_a: Sequence[Outcome], outcomes_b: Sequence[Outcome], p_value: Callable[[Floats], float]
) -> float:
    """Return the larger p-value of the two extreme readings of unscored outcomes; 1 if their directions differ."""
    a_N, b_N = paired_scores(outcomes_a, outcomes_b)
    against_N = np.nan_to_num(b_N, nan=0.0) - np.nan_to_num(a_N, nan=1.0)
    in_favour_N = np.nan_to_num(b_N, nan=1.0) - np.nan_to_num(a_N, nan=0.0)
    if against_N.sum() < 0 < in_favour_N.sum():
        return 1.0
    return max(p_value(against_N), p_value(in_favour_N))
