"""Agreement between two judges, or between labels and verdicts: beyond chance, and on each side.

Shape suffix: N conversation.
"""

from collections.abc import Sequence

import numpy as np

from mascing.schemas.result import Rate
from mascing.schemas.verdict import Outcome
from mascing.statistics.clustering import Floats, members_of
from mascing.statistics.intervals import bounded, paired_scores, rate
from mascing.statistics.score import wilson


def kappa(judged_a: Sequence[Outcome], judged_b: Sequence[Outcome], groups: Sequence[str]) -> Rate:
    """Return Cohen's kappa of two judgements of the same conversations: 1 is full agreement, 0 is chance.

    The interval is Wilson's for the share of agreement, clustered by group and converted to kappa at the observed
    chance agreement. Unlike the usual interval, it keeps its width if all agree. ``value`` covers the pairs with both
    sides scored; it is 0 if there is none or if both sides only ever give the same single outcome. ``low`` counts every
    other pair as disagreement, ``high`` as agreement. Raises DataError if there is nothing to count or the pairs do not
    match. Source: Cohen (1960), by statsmodels.
    """
    a_N, b_N = paired_scores(judged_a, judged_b)
    members_N = members_of(groups, len(a_N))
    unscored_N = np.isnan(a_N) | np.isnan(b_N)
    agreed_N = np.where(unscored_N, np.nan, a_N == b_N)
    value, chance = _kappa(a_N[~unscored_N], b_N[~unscored_N])
    low_R, _ = wilson(np.nan_to_num(agreed_N, nan=0.0)[None], members_N)
    _, high_R = wilson(np.nan_to_num(agreed_N, nan=1.0)[None], members_N)
    low, high = ((float(share) - chance) / (1 - chance) for share in (low_R[0], high_R[0]))
    return bounded(value, low, high, unscored_N)


def agreement_on(judged: Sequence[Outcome], labels: Sequence[Outcome], side: Outcome, groups: Sequence[str]) -> Rate:
    """Return the share of conversations labelled ``side`` that the judge gives the same outcome, with its interval.

    It is the judge's sensitivity for ``hit`` and its specificity for ``miss``. Raises DataError if no conversation has
    this label or the labels do not match the verdicts.
    """
    paired_scores(judged, labels)
    same: dict[bool, Outcome] = {True: "hit", False: "miss"}
    chosen = [
        ("unscored" if outcome == "unscored" else same[outcome == side], group)
        for outcome, label, group in zip(judged, labels, groups, strict=True)
        if label == side
    ]
    return rate([outcome for outcome, _ in chosen], [group for _, group in chosen])


def _kappa(a_N: Floats, b_N: Floats) -> tuple[float, float]:
    """Return kappa and the chance agreement; the latter is one half if only one outcome occurs."""
    from statsmodels.stats.inter_rater import cohens_kappa

    if len(set(a_N.tolist()) | set(b_N.tolist())) < 2:
        return 0.0, 0.5
    table = [[float(((a_N == a) & (b_N == b)).sum()) for b in (0, 1)] for a in (0, 1)]
    chance = float(a_N.mean() * b_N.mean() + (1 - a_N.mean()) * (1 - b_N.mean()))
    with np.errstate(divide="ignore", invalid="ignore"):  # of its variance, which full agreement makes 0
        return float(cohens_kappa(table, return_results=True).kappa), chance
