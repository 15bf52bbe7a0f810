"""Rates and paired differences of judged replies, with 95% intervals and a test for groups and unscored replies.

Conversations of one group (one goal, one question) are not independent, so every interval assumes only n / design
effect of them. Score intervals are the default because they keep their width if all outcomes are equal: no loss in n
conversations still leaves about 3.8 / n of doubt, which a bootstrap misses.
Shape suffix: N conversation.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mascing.errors import DataError
from mascing.schemas.result import Rate
from mascing.schemas.verdict import Outcome
from mascing.statistics.clustering import Floats, members_of
from mascing.statistics.score import tango, upper_tail, wilson

_SCORES = {"hit": 1.0, "miss": 0.0, "unscored": np.nan}


def rate(outcomes: Sequence[Outcome], groups: Sequence[str]) -> Rate:
    """Return the share of hits, with Wilson's score interval at the effective number of conversations.

    ``value`` covers the scored outcomes; it is one half if there is none. ``low`` counts every unscored outcome as a
    miss, ``high`` as a hit. Raises DataError if there is nothing to count.
    """
    scores_N = scores_of(outcomes)
    members_N = members_of(groups, len(scores_N))
    unscored_N = np.isnan(scores_N)
    value = float(scores_N[~unscored_N].mean()) if not unscored_N.all() else 0.5
    low_R, _ = wilson(np.nan_to_num(scores_N, nan=0.0)[None], members_N)
    _, high_R = wilson(np.nan_to_num(scores_N, nan=1.0)[None], members_N)
    return bounded(value, float(low_R[0]), float(high_R[0]), unscored_N)


def paired_difference(outcomes_a: Sequence[Outcome], outcomes_b: Sequence[Outcome], groups: Sequence[str]) -> Rate:
    """Return how much higher the rate of b is than that of a on the same conversations, with Tango's interval.

    ``value`` covers the pairs with both outcomes scored; it is 0 if there is none. ``low`` counts every unscored
    outcome against b, ``high`` in favour of b. ``unscored`` counts pairs. Raises DataError if there is nothing to count
    or the pairs do not match.
    """
    a_N, b_N = paired_scores(outcomes_a, outcomes_b)
    members_N = members_of(groups, len(a_N))
    unscored_N = np.isnan(a_N) | np.isnan(b_N)
    value = float((b_N - a_N)[~unscored_N].mean()) if not unscored_N.all() else 0.0
    against_N, in_favour_N = _extremes(a_N, b_N)
    low_R, _ = tango(against_N[None], members_N)
    _, high_R = tango(in_favour_N[None], members_N)
    return bounded(value, float(low_R[0]), float(high_R[0]), unscored_N)


def paired_p(outcomes_a: Sequence[Outcome], outcomes_b: Sequence[Outcome], groups: Sequence[str]) -> float:
    """Return the two-sided p-value of the difference of two rates on the same conversations.

    It is below 0.05 exactly if the interval of :func:`paired_difference` leaves out 0: both come from one score test.
    Each direction counts every unscored outcome against it. Raises the errors of that function.
    """
    a_N, b_N = paired_scores(outcomes_a, outcomes_b)
    members_N = members_of(groups, len(a_N))
    against_N, in_favour_N = _extremes(a_N, b_N)
    higher_R, lower_R = upper_tail(against_N[None], members_N), upper_tail(-in_favour_N[None], members_N)
    return min(1.0, 2 * float(min(higher_R[0], lower_R[0])))


def _extremes(a_N: Floats, b_N: Floats) -> tuple[Floats, Floats]:
    """Return the differences b - a with every unscored outcome (NaN) counted against b, and in favour of b, [N]."""
    against_N: Floats = np.nan_to_num(b_N, nan=0.0) - np.nan_to_num(a_N, nan=1.0)
    in_favour_N: Floats = np.nan_to_num(b_N, nan=1.0) - np.nan_to_num(a_N, nan=0.0)
    return against_N, in_favour_N


def bounded(value: float, low: float, high: float, unscored_N: NDArray[np.bool_]) -> Rate:
    """Return the Rate of an interval, stretched to contain the value: half-scored pairs count only in the bounds."""
    low, high = min(low, value), max(high, value)
    return Rate(value=value, low=low, high=high, n=len(unscored_N), unscored=int(unscored_N.sum()))


def scores_of(outcomes: Sequence[Outcome]) -> Floats:
    """Map hits to 1, misses to 0 and unscored to NaN, [N]. Raises DataError for other outcomes or none."""
    unknown = set(outcomes) - _SCORES.keys()
    if unknown:
        raise DataError(f"outcomes must be hit, miss or unscored, not {sorted(map(str, unknown))}")
    if len(outcomes) == 0:
        raise DataError("no verdicts to count: the set is empty in this split; give it more groups")
    return np.array([_SCORES[outcome] for outcome in outcomes])


def paired_scores(outcomes_a: Sequence[Outcome], outcomes_b: Sequence[Outcome]) -> tuple[Floats, Floats]:
    """Return the scores of two sides on the same conversations, [N] each. Raises DataError if they do not match."""
    a_N, b_N = scores_of(outcomes_a), scores_of(outcomes_b)
    if len(a_N) != len(b_N):
        raise DataError(f"a paired comparison needs the same conversations twice, not {len(a_N)} and {len(b_N)}")
    return a_N, b_N
