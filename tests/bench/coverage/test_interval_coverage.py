"""Coverage of the 95% intervals on clustered data: a quick, seeded version of the full table."""

import numpy as np
import pytest

from mascing.schemas.verdict import Outcome
from mascing.statistics import paired_difference, rate
from mascing.statistics.score import tango, wilson
from tests.bench.coverage import corrected_coverage as corrected
from tests.bench.coverage.difference_size import sizes
from tests.bench.coverage.interval_coverage import change_coverage, rate_coverage

REPEATS = 800
# 93 to 97%, give or take two standard errors of a coverage from this many repeats.
LEAST, MOST = 0.915, 0.982


@pytest.mark.parametrize(
    ("n", "size", "correlation", "truth"),
    [
        (50, 1, 0.0, 0.5),
        (50, 5, 0.2, 0.9),
        (200, 5, 0.2, 0.5),
        (200, 5, 0.5, 0.05),
        (200, 10, 0.5, 0.7),
        (1000, 10, 0.2, 0.95),
    ],
)
def test_the_rate_is_inside_its_interval_as_often_as_promised(
    n: int, size: int, correlation: float, truth: float
) -> None:
    assert LEAST <= rate_coverage(n, size, correlation, truth, REPEATS) <= MOST


@pytest.mark.parametrize(
    ("n", "size", "correlation", "gain", "loss"),
    [(50, 2, 0.2, 0.4, 0.05), (200, 5, 0.2, 0.1, 0.1), (200, 2, 0.5, 0.02, 0.05), (1000, 10, 0.2, 0.1, 0.05)],
)
def test_the_paired_difference_is_inside_its_interval_as_often_as_promised(
    n: int, size: int, correlation: float, gain: float, loss: float
) -> None:
    assert LEAST <= change_coverage(n, size, correlation, (gain, loss), REPEATS) <= MOST


def test_what_is_simulated_is_what_is_reported() -> None:
    rng = np.random.default_rng(1)
    before, after = rng.random((2, 60)) < np.repeat(rng.beta(2, 2, size=20), 3)
    names: list[list[Outcome]] = [["hit" if hit else "miss" for hit in side] for side in (before, after)]
    groups, members_N = [f"g{i // 3}" for i in range(60)], np.repeat(np.arange(20), 3)
    measured, compared = rate(names[0], groups), paired_difference(names[0], names[1], groups)
    assert (measured.low, measured.high) == tuple(end[0] for end in wilson(before[None].astype(float), members_N))
    assert (compared.low, compared.high) == tuple(
        end[0] for end in tango(after[None].astype(float) - before[None], members_N)
    )


@pytest.mark.parametrize(("n", "size", "correlation", "change"), [(50, 1, 0.0, 0.1), (200, 5, 0.2, 0.3)])
def test_the_test_of_a_difference_finds_none_where_there_is_none(
    n: int, size: int, correlation: float, change: float
) -> None:
    rejected, _ = sizes(n, size, correlation, change, REPEATS)
    assert 0.03 <= rejected <= 0.07


@pytest.mark.parametrize(
    ("se", "sp", "labelled", "test", "truth"),
    [(0.7, 0.8, 50, (200, 1), 0.5), (0.95, 0.99, 100, (200, 1), 0.2), (0.8, 0.9, 100, (200, 5), 0.8)],
)
def test_a_corrected_rate_is_inside_its_interval_as_often_as_promised(
    se: float, sp: float, labelled: int, test: tuple[int, int], truth: float
) -> None:
    assert LEAST <= corrected.rate_coverage(se, sp, labelled, test, truth, REPEATS) <= MOST


@pytest.mark.parametrize(("se", "sp", "change"), [(0.7, 0.9, (0.2, 0.05)), (0.95, 0.8, (0.1, 0.1))])
def test_a_corrected_difference_is_inside_its_interval_as_often_as_promised(
    se: float, sp: float, change: tuple[float, float]
) -> None:
    assert LEAST <= corrected.change_coverage(se, sp, 100, (200, 1), change, REPEATS) <= MOST
