"""Rates and paired differences of judged replies, with 95% intervals that know about groups and unread replies.

Conversations of one group (one goal, one question) are not independent, so every interval is computed as if there were
only n / design effect of them. Score intervals are the default because they keep their width where all outcomes are
equal: nothing lost in n conversations still leaves about 3.8 / n of doubt, of which a bootstrap knows nothing.
Shape suffix: N conversation.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mascing.errors import DataError
from mascing.schemas.result import Rate
from mascing.schemas.verdict import Outcome
from mascing.statistics.clustering import Floats, members_of
from mascing.statistics.score import tango, wilson

_SCORES = {"hit": 1.0, "miss": 0.0, "unscored": np.nan}


def rate(outcomes: Sequence[Outcome], groups: Sequence[str]) -> Rate:
    """Share of hits, by Wilson's score interval at the effective number of conversations.

    ``value`` is over the scored outcomes (one half where none is); ``low`` counts every unscored one as a miss and
    ``high`` as a hit. Raises DataError where there is nothing to count.
    """
    scores_N = scores_of(outcomes)
    members_N = members_of(groups, len(scores_N))
    unread_N = np.isnan(scores_N)
    value = float(scores_N[~unread_N].mean()) if not unread_N.all() else 0.5
    low_R, _ = wilson(np.nan_to_num(scores_N, nan=0.0)[None], members_N)
    _, high_R = wilson(np.nan_to_num(scores_N, nan=1.0)[None], members_N)
    return bounded(value, float(low_R[0]), float(high_R[0]), unread_N)


def paired_difference(outcomes_a: Sequence[Outcome], outcomes_b: Sequence[Outcome], groups: Sequence[str]) -> Rate:
    """How much higher the rate of b is than that of a on the same conversations, by Tango's score interval.

    ``value`` is over pairs with both outcomes scored (0 where there is none); in ``low`` every unscored outcome is
    taken against b, in ``high`` for it; ``unscored`` counts pairs. Raises DataError where there is nothing to count or
    the pairs do not match.
    """
    a_N, b_N = paired_scores(outcomes_a, outcomes_b)
    members_N = members_of(groups, len(a_N))
    unread_N = np.isnan(a_N) | np.isnan(b_N)
    value = float((b_N - a_N)[~unread_N].mean()) if not unread_N.all() else 0.0
    low_R, _ = tango((np.nan_to_num(b_N, nan=0.0) - np.nan_to_num(a_N, nan=1.0))[None], members_N)
    _, high_R = tango((np.nan_to_num(b_N, nan=1.0) - np.nan_to_num(a_N, nan=0.0))[None], members_N)
    return bounded(value, float(low_R[0]), float(high_R[0]), unread_N)


def bounded(value: float, low: float, high: float, unread_N: NDArray[np.bool_]) -> Rate:
    """The Rate of an interval; stretched to hold the value, since half-scored pairs are in the bounds alone."""
    low, high = min(low, value), max(high, value)
    return Rate(value=value, low=low, high=high, n=len(unread_N), unscored=int(unread_N.sum()))


def scores_of(outcomes: Sequence[Outcome]) -> Floats:
    """1 for a hit, 0 for a miss, NaN for unscored, [N]. Raises DataError for anything else, or nothing."""
    unknown = set(outcomes) - _SCORES.keys()
    if unknown:
        raise DataError(f"outcomes must be hit, miss or unscored, not {sorted(map(str, unknown))}")
    if len(outcomes) == 0:
        raise DataError("no verdicts to count: the set is empty in this split; give it more groups")
    return np.array([_SCORES[outcome] for outcome in outcomes])


def paired_scores(outcomes_a: Sequence[Outcome], outcomes_b: Sequence[Outcome]) -> tuple[Floats, Floats]:
    """The scores of two sides on the same conversations, [N] each. Raises DataError if they do not match."""
    a_N, b_N = scores_of(outcomes_a), scores_of(outcomes_b)
    if len(a_N) != len(b_N):
        raise DataError(f"a paired comparison needs the same conversations twice, not {len(a_N)} and {len(b_N)}")
    return a_N, b_N
