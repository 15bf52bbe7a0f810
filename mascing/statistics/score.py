"""Score intervals of a rate (Wilson) and of a paired difference (Tango) at the effective number of conversations, and
the test of that difference.

Shape suffixes: R repeat, N conversation.
"""

import numpy as np
from scipy.special import ndtr, ndtri

from mascing.statistics.clustering import Floats, Members, design_effect

CONFIDENCE = 0.95

_HALVINGS = 45


def wilson(scores_RN: Floats, members_N: Members) -> tuple[Floats, Floats]:
    """Return the lower and upper ends of the interval of each row's mean score (0 or 1), [R] each.

    Source: Wilson (1927), with the design effect of clustered samples (Kish 1965; compared by Saha, Miller and Wang
    2016).
    """
    p_R, n_R = scores_RN.mean(1), scores_RN.shape[1] / design_effect(scores_RN, members_N)
    z = _quantile()
    centre_R = (p_R + z**2 / (2 * n_R)) / (1 + z**2 / n_R)
    half_R = z / (1 + z**2 / n_R) * np.sqrt(p_R * (1 - p_R) / n_R + z**2 / (4 * n_R**2))
    return np.maximum(0.0, centre_R - half_R), np.minimum(1.0, centre_R + half_R)


def tango(differences_RN: Floats, members_N: Members) -> tuple[Floats, Floats]:
    """Return the lower and upper ends of the interval of each row's mean difference (-1, 0 or 1), [R] each.

    Source: Tango (1998), at the effective number of pairs.
    """
    effect_R = design_effect(differences_RN, members_N)
    n_R = differences_RN.shape[1] / effect_R
    gains_R, losses_R = (differences_RN > 0).sum(1) / effect_R, (differences_RN < 0).sum(1) / effect_R
    # The upper end is the lower one of the opposite difference; both in one bisection take half the time.
    ends_2R = _tango_low(np.append(gains_R, losses_R), np.append(losses_R, gains_R), np.tile(n_R, 2))
    low_R, opposite_R = np.split(ends_2R, 2)
    return low_R, -opposite_R


def upper_tail(differences_RN: Floats, members_N: Members) -> Floats:
    """Return the one-sided p-value of each row's mean difference (-1, 0 or 1) being above 0 by chance, [R].

    This is the test that `tango` inverts: the lower end of the interval is above 0 exactly if this is below half of
    1 - CONFIDENCE. At a difference of 0 the score statistic is that of McNemar (1947), here at the effective numbers.
    """
    effect_R = design_effect(differences_RN, members_N)
    changed_R = np.abs(differences_RN).sum(1)
    scores_R = differences_RN.sum(1) / np.sqrt(np.maximum(changed_R, 1.0) * effect_R)
    tail_R: Floats = ndtr(-scores_R)
    return tail_R


def _quantile() -> float:
    return float(ndtri((1 + CONFIDENCE) / 2))


def _tango_low(gains_R: Floats, losses_R: Floats, n_R: Floats) -> Floats:
    """Return the least difference that the score test does not reject, by bisection.

    A root finder of scipy does not work here: if all pairs agree, the estimate itself is a second, trivial root.
    """
    z = _quantile()
    low_R, high_R = np.full_like(n_R, -1.0), (gains_R - losses_R) / n_R
    for _ in range(_HALVINGS):
        middle_R = (low_R + high_R) / 2
        linear_R = -gains_R - losses_R + (2 * n_R - gains_R + losses_R) * middle_R
        # Maximum-likelihood probability of a loss under this difference: the root of a quadratic.
        discriminant_R = linear_R**2 + 8 * n_R * losses_R * middle_R * (1 - middle_R)
        loss_rate_R = (np.sqrt(np.maximum(discriminant_R, 0.0)) - linear_R) / (4 * n_R)
        variance_R = n_R * (2 * loss_rate_R + middle_R * (1 - middle_R))
        rejected_R = gains_R - losses_R - n_R * middle_R >= z * np.sqrt(np.maximum(variance_R, 0.0))
        low_R, high_R = np.where(rejected_R, middle_R, low_R), np.where(rejected_R, high_R, middle_R)
    return low_R
