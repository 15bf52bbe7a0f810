"""Rates and paired differences of judged replies, with 95% intervals that know about groups and unread replies.

Conversations of one group (one goal, one question) are not independent, so every interval is computed as if there were
only n / design effect of them. Shape suffixes: N conversation, G group.
"""

from collections.abc import Sequence
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from mascing.errors import DataError
from schemas.result import Rate
from schemas.verdict import Outcome

Floats = NDArray[np.float64]

CONFIDENCE = 0.95

# Within-group correlation that is assumed where the data cannot tell. It matters where nearly all outcomes are equal
# (a rate near 0 or 1, a mask that changes next to nothing), and the estimate alone would claim independence. Chosen by
# simulation on beta-binomial groups; tests/mascing/test_statistics_coverage.py is a quick version of it.
PRIOR_CORRELATION = 0.2

_SCORES = {"hit": 1.0, "miss": 0.0, "unscored": np.nan}


def rate(outcomes: Sequence[Outcome], groups: Sequence[str]) -> Rate:
    """Share of hits, by Wilson's score interval at the effective number of conversations.

    ``value`` is over the scored outcomes (one half where none is); ``low`` counts every unscored one as a miss and
    ``high`` as a hit. Raises DataError where there is nothing to count. Source: Wilson (1927), with the design effect
    of clustered samples (Kish 1965; compared by Saha, Miller and Wang 2016).
    """
    scores_N = _scores(outcomes)
    members_N = _members(groups, len(scores_N))
    unread_N = np.isnan(scores_N)
    value = float(scores_N[~unread_N].mean()) if not unread_N.all() else 0.5
    low, _ = _wilson(np.where(unread_N, 0.0, scores_N), members_N)
    _, high = _wilson(np.where(unread_N, 1.0, scores_N), members_N)
    return _interval(value, low, high, unread_N)


def paired_difference(outcomes_a: Sequence[Outcome], outcomes_b: Sequence[Outcome], groups: Sequence[str]) -> Rate:
    """How much higher the rate of b is than that of a on the same conversations, by Tango's score interval.

    The interval keeps its width where all differences are equal (none lost of n still leaves about 3.8 / n of doubt),
    as a normal or bootstrap interval does not. ``value`` is over pairs with both outcomes scored (0 where there is
    none); in ``low`` every unscored outcome is taken against b, in ``high`` for it; ``unscored`` counts pairs. Raises
    DataError where there is nothing to count or the pairs do not match. Source: Tango (1998), at the effective number
    of pairs.
    """
    a_N, b_N = _scores(outcomes_a), _scores(outcomes_b)
    if len(a_N) != len(b_N):
        raise DataError(f"a paired comparison needs the same conversations twice, not {len(a_N)} and {len(b_N)}")
    members_N = _members(groups, len(a_N))
    unread_N = np.isnan(a_N) | np.isnan(b_N)
    value = float((b_N - a_N)[~unread_N].mean()) if not unread_N.all() else 0.0
    low, _ = _tango(np.nan_to_num(b_N, nan=0.0) - np.nan_to_num(a_N, nan=1.0), members_N)
    _, high = _tango(np.nan_to_num(b_N, nan=1.0) - np.nan_to_num(a_N, nan=0.0), members_N)
    return _interval(value, low, high, unread_N)


def _interval(value: float, low: float, high: float, unread_N: NDArray[np.bool_]) -> Rate:
    # Half-scored pairs are in the bounds and not in the value, so the value alone could fall outside.
    low, high = min(low, value), max(high, value)
    return Rate(value=value, low=low, high=high, n=len(unread_N), unscored=int(unread_N.sum()))


def _scores(outcomes: Sequence[Outcome]) -> Floats:
    unknown = set(outcomes) - _SCORES.keys()
    if unknown:
        raise DataError(f"outcomes must be hit, miss or unscored, not {sorted(map(str, unknown))}")
    if len(outcomes) == 0:
        raise DataError("no verdicts to count: the set is empty in this split; give it more groups")
    return np.array([_SCORES[outcome] for outcome in outcomes])


def _members(groups: Sequence[str], n: int) -> NDArray[np.intp]:
    """Index of each conversation's group, [N]."""
    if len(groups) != n:
        raise DataError(f"every outcome needs its group: {n} outcomes, {len(groups)} groups")
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(group, len(numbers)) for group in groups])


def _design_effect(values_N: Floats, members_N: NDArray[np.intp]) -> float:
    """How many times the clustered variance of the mean is that of independent conversations; at least 1.

    The linearised estimate, drawn towards the prior's with the weight of one among the groups that speak: those that
    hold anything but one common value. A single speaking group can show that outcomes cluster, not that they do not.
    """
    n, sizes_G = len(values_N), np.bincount(members_N)
    prior = 1 + (float(np.square(sizes_G).sum()) / n - 1) * PRIOR_CORRELATION
    n_groups = len(sizes_G)
    speaking = min(len(set(members_N[values_N != value].tolist())) for value in set(values_N.tolist()))
    if speaking == 0 or n_groups == 1:
        return prior
    residuals_N = values_N - values_N.mean()
    totals_G = np.bincount(members_N, weights=residuals_N)
    correction = n_groups / (n_groups - 1) * (n - 1) / n
    estimate = correction * float(np.square(totals_G).sum() / np.square(residuals_N).sum())
    estimate = max(1.0, estimate)
    return ((speaking - 1) * estimate + max(estimate, prior)) / speaking


def _quantile() -> float:
    return float(ndtri((1 + CONFIDENCE) / 2))


def _wilson(scores_N: Floats, members_N: NDArray[np.intp]) -> tuple[float, float]:
    p, n = float(scores_N.mean()), len(scores_N) / _design_effect(scores_N, members_N)
    z = _quantile()
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def _tango(differences_N: Floats, members_N: NDArray[np.intp]) -> tuple[float, float]:
    effect = _design_effect(differences_N, members_N)
    gains, losses = float((differences_N > 0).sum()) / effect, float((differences_N < 0).sum()) / effect
    n = len(differences_N) / effect
    return _tango_low(gains, losses, n), -_tango_low(losses, gains, n)


def _tango_low(gains: float, losses: float, n: float) -> float:
    """The least difference that the score test does not reject, by bisection.

    Not by a root finder of scipy: where all pairs agree, the estimate itself is a second, trivial root.
    """
    z = _quantile()
    low, high = -1.0, (gains - losses) / n
    while high - low > 1e-12:
        middle = (low + high) / 2
        linear = -gains - losses + (2 * n - gains + losses) * middle
        # Probability of a loss under this difference, by maximum likelihood: the root of a quadratic.
        discriminant = linear**2 + 8 * n * losses * middle * (1 - middle)
        loss_rate = (sqrt(max(discriminant, 0.0)) - linear) / (4 * n)
        variance = n * (2 * loss_rate + middle * (1 - middle))
        if gains - losses - n * middle >= z * sqrt(max(variance, 0.0)):
            low = middle
        else:
            high = middle
    return low
