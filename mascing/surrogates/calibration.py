"""Calibration: a temperature for the scores of a surrogate, and the reliability of the resulting probabilities.

The temperature is fitted on the dev split, which the surrogate was not trained on. Its scores on the training split are
memorised and would give too low a temperature. The reported probabilities are cross-fitted: the groups of dev are split
into halves, and each half uses the temperature fitted on the other. So no temperature has seen the conversations that
it is reported on, and the report covers every conversation.
Shape suffixes: N conversation.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit

from mascing.schemas.cards.surrogate_card import Calibration, ReliabilityPoint
from mascing.statistics import rate

Floats = NDArray[np.float64]

_BINS = 10
_MIN_PER_BIN = 10
_LOG_TEMPERATURES = (-3.0, 5.0)


def calibration(scores: ArrayLike, labels: ArrayLike, groups: Sequence[str]) -> Calibration:
    """The temperature of ``scores`` (logits [N]), and the reliability of cross-fitted probabilities."""
    values_N, labels_N = np.asarray(scores, float), np.asarray(labels) > 0
    half_N = _halves(groups)
    temperature_N = np.where(
        half_N,
        fit_temperature(values_N[~half_N], labels_N[~half_N]),
        fit_temperature(values_N[half_N], labels_N[half_N]),
    )
    points = _points(expit(values_N / temperature_N), labels_N, groups)
    return Calibration(
        temperature=fit_temperature(values_N, labels_N),
        error=_error(points),
        error_before=_error(_points(expit(values_N), labels_N, groups)),
        points=points,
    )


def fit_temperature(scores: ArrayLike, labels: ArrayLike) -> float:
    """The most likely temperature; 1 if there is nothing to fit.

    Its logarithm has a standard normal prior, because scores that separate the classes perfectly would otherwise give
    infinite certainty. Source: Guo et al. (2017).
    """
    values_N, labels_N = np.asarray(scores, float), np.asarray(labels) > 0

    def loss(log_temperature: float) -> float:
        scaled_N = values_N / np.exp(log_temperature)
        return float((np.logaddexp(0, scaled_N) - labels_N * scaled_N).sum()) + log_temperature**2 / 2

    return float(np.exp(minimize_scalar(loss, bounds=_LOG_TEMPERATURES, method="bounded").x))


def _halves(groups: Sequence[str]) -> NDArray[np.bool_]:
    positions = {group: position for position, group in enumerate(sorted(set(groups)))}
    return np.array([positions[group] % 2 == 0 for group in groups])


def _points(probability_N: Floats, labels_N: NDArray[np.bool_], groups: Sequence[str]) -> tuple[ReliabilityPoint, ...]:
    """Reliability in bins of equally many conversations, so that no bin has only a few."""
    n_bins = max(1, min(_BINS, len(probability_N) // _MIN_PER_BIN))
    return tuple(
        ReliabilityPoint(
            predicted=float(probability_N[chosen].mean()),
            observed=rate(["hit" if labels_N[i] else "miss" for i in chosen], [groups[i] for i in chosen]),
        )
        for chosen in np.array_split(np.argsort(probability_N, kind="stable"), n_bins)
    )


def _error(points: Sequence[ReliabilityPoint]) -> float:
    """Expected calibration error: the mean distance between predicted and observed, weighted by conversations."""
    total = sum(point.observed.n for point in points)
    return sum(point.observed.n * abs(point.predicted - point.observed.value) for point in points) / total
