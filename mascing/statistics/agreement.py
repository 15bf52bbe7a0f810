"""Agreement of two judges, or of labels and verdicts, beyond what chance gives.

Shape suffix: N conversation.
"""

from collections.abc import Sequence

import numpy as np

from mascing.schemas.result import Rate
from mascing.schemas.verdict import Outcome
from mascing.statistics.clustering import Floats, members_of
from mascing.statistics.intervals import bounded, paired_scores
from mascing.statistics.score import wilson


def kappa(judged_a: Sequence[Outcome], judged_b: Sequence[Outcome], groups: Sequence[str]) -> Rate:
    """Cohen's kappa of two judgements of the same conversations: 1 where they always agree, 0 as by chance.

    The interval is Wilson's of the share that agrees, clustered by group, on the scale of kappa at the chance agreement
    found; unlike the usual one it keeps its width where all agree. ``value`` is over the pairs with both sides scored
    (0 where there is none, and where both say one thing only); ``low`` counts every other one as disagreement, ``high``
    as agreement. Raises DataError where there is nothing to count or the pairs do not match. Source: Cohen (1960), by
    statsmodels.
    """
    a_N, b_N = paired_scores(judged_a, judged_b)
    members_N = members_of(groups, len(a_N))
    unread_N = np.isnan(a_N) | np.isnan(b_N)
    agreed_N = np.where(unread_N, np.nan, a_N == b_N)
    value, chance = _kappa(a_N[~unread_N], b_N[~unread_N])
    low_R, _ = wilson(np.nan_to_num(agreed_N, nan=0.0)[None], members_N)
    _, high_R = wilson(np.nan_to_num(agreed_N, nan=1.0)[None], members_N)
    low, high = ((float(share) - chance) / (1 - chance) for share in (low_R[0], high_R[0]))
    return bounded(value, low, high, unread_N)


def _kappa(a_N: Floats, b_N: Floats) -> tuple[float, float]:
    """Kappa, and the agreement that chance gives: one half where the judgements cannot tell."""
    from statsmodels.stats.inter_rater import cohens_kappa

    if len(set(a_N.tolist()) | set(b_N.tolist())) < 2:
        return 0.0, 0.5
    table = [[float(((a_N == a) & (b_N == b)).sum()) for b in (0, 1)] for a in (0, 1)]
    chance = float(a_N.mean() * b_N.mean() + (1 - a_N.mean()) * (1 - b_N.mean()))
    return float(cohens_kappa(table, return_results=True).kappa), chance
