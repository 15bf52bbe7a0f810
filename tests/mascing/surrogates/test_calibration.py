import numpy as np
import pytest
from scipy.special import expit

from mascing.surrogates.calibration import calibration, fit_temperature


def drawn(n: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """True logits, labels drawn by them, and groups of two."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1.5, n)
    return logits, (rng.random(n) < expit(logits)).astype(int), [f"g{number // 2}" for number in range(n)]


def test_overconfident_scores_get_the_temperature_that_undoes_it() -> None:
    logits, labels, groups = drawn(4000)
    calibrated = calibration(4 * logits, labels, groups)
    assert calibrated.temperature == pytest.approx(4, rel=0.1)
    assert calibrated.error < 0.03 < 0.1 < calibrated.error_before


def test_points_count_every_conversation_and_hold_what_they_say() -> None:
    logits, labels, groups = drawn(1000)
    points = calibration(logits, labels, groups).points
    assert sum(point.observed.n for point in points) == 1000
    assert [point.predicted for point in points] == sorted(point.predicted for point in points)
    assert sum(point.observed.low <= point.predicted <= point.observed.high for point in points) >= len(points) - 1


def test_reported_probabilities_have_not_seen_their_labels() -> None:
    """Were they fitted on themselves, scores without meaning would come out calibrated by a huge temperature alone."""
    groups = [f"g{number:02d}" for number in range(40)]
    upside = [1 if number % 2 else -1 for number in range(40)]
    scores = np.array([3.0, -3.0] * 20) * np.where(np.arange(40) % 4 < 2, 1, -1)
    labels = (scores * upside > 0).astype(int)  # right in every second group of the order, wrong in the others
    assert calibration(scores, labels, groups).error > 0.3


def test_scores_without_a_fault_ask_for_no_infinite_certainty() -> None:
    temperature = fit_temperature([-1.0] * 50 + [1.0] * 50, [0] * 50 + [1] * 50)
    assert 0.1 < temperature < 1
    assert fit_temperature([-9.0] * 50 + [9.0] * 50, [0] * 50 + [1] * 50) == pytest.approx(1, abs=0.1)
    assert fit_temperature([], []) == pytest.approx(1, abs=1e-3)


def test_few_conversations_make_one_point() -> None:
    assert len(calibration([1.0, -1.0, 2.0], [1, 0, 1], ["a", "b", "b"]).points) == 1
