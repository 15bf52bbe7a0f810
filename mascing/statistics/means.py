"""The mean of paired differences that are no verdicts, such as an F1, with a 95% interval and a test for groups.

Shape suffixes: N conversation, G group.
"""

from collections.abc import Sequence

import numpy as np
from scipy.special import stdtr, stdtrit

from mascing.errors import DataError
from mascing.schemas.result import Rate
from mascing.statistics.clustering import group_sums, members_of
from mascing.statistics.score import CONFIDENCE


def mean_difference(differences: Sequence[float], groups: Sequence[str]) -> tuple[Rate, float]:
    """Return the mean with its interval, and its two-sided p-value, by Student's t on the sums of the groups.

    The variance is the linearised one of clustered samples, with one degree of freedom less than there are groups (Bell
    and McCaffrey 2002, CR1). Differences that are all equal leave no doubt here, unlike in ``paired_difference``: for
    outcomes that are hit or miss, take that. Raises DataError for fewer than two groups.
    """
    values_N = np.asarray(differences, dtype=float)
    members_N = members_of(groups, len(values_N))
    n_groups = int(members_N.max(initial=-1)) + 1
    if n_groups < 2:
        raise DataError(f"a mean difference needs two groups or more to be tested, not {n_groups}")
    mean = float(values_N.mean())
    residuals_G = group_sums((values_N - mean)[None], members_N)[0]
    error = float(np.sqrt(np.square(residuals_G).sum() * n_groups / (n_groups - 1))) / len(values_N)
    half = error * float(stdtrit(n_groups - 1, (1 + CONFIDENCE) / 2))
    certain = 0.0 if mean else 1.0
    p = float(2 * stdtr(n_groups - 1, -abs(mean) / error)) if error > 0 else certain
    return Rate(value=mean, low=mean - half, high=mean + half, n=len(values_N), unscored=0), p
