"""How often the 95% intervals hold the truth on clustered data: a quick, seeded version of the full simulation."""

import numpy as np
import pytest
from numpy.typing import NDArray

from mascing.statistics import paired_difference, rate
from schemas.verdict import Outcome

GROUP_SIZE = 5
CORRELATION = 0.2
REPEATS = 300
# Three standard errors of a coverage of 0.95 from this many repeats; at n = 50 few outcomes are possible, and the
# interval errs to the safe side.
LEAST, MOST = 0.912, 0.99


def outcomes(hits_N: NDArray[np.bool_]) -> list[Outcome]:
    return ["hit" if hit else "miss" for hit in hits_N.tolist()]


def groups(n: int) -> list[str]:
    return [f"g{i // GROUP_SIZE}" for i in range(n)]


def clustered(rng: np.random.Generator, probabilities: tuple[float, ...], n: int) -> NDArray[np.intp]:
    """Category of each conversation, [N]: Dirichlet-multinomial groups (beta-binomial for two categories)."""
    concentration = np.array(probabilities) * (1 / CORRELATION - 1)
    rates_GC = rng.dirichlet(concentration, size=n // GROUP_SIZE)
    limits_NC = np.repeat(rates_GC.cumsum(axis=1), GROUP_SIZE, axis=0)
    category_N: NDArray[np.intp] = (rng.random((n, 1)) > limits_NC[:, :-1]).sum(axis=1)
    return category_N


@pytest.mark.parametrize(("n", "truth"), [(50, 0.5), (50, 0.9), (200, 0.5), (200, 0.95), (1000, 0.95)])
def test_the_rate_is_inside_its_interval_as_often_as_promised(n: int, truth: float) -> None:
    rng = np.random.default_rng(7)
    inside = 0
    for _ in range(REPEATS):
        measured = rate(outcomes(clustered(rng, (truth, 1 - truth), n) == 0), groups(n))
        inside += measured.low <= truth <= measured.high
    assert LEAST <= inside / REPEATS <= MOST


@pytest.mark.parametrize(
    ("n", "gain", "loss"), [(50, 0.4, 0.05), (200, 0.1, 0.1), (200, 0.02, 0.05), (1000, 0.1, 0.05)]
)
def test_the_paired_difference_is_inside_its_interval_as_often_as_promised(n: int, gain: float, loss: float) -> None:
    rng = np.random.default_rng(7)
    inside = 0
    both = (1 - gain - loss) / 2
    for _ in range(REPEATS):
        kind_N = clustered(rng, (gain, loss, both, both), n)
        before, after = (kind_N == 1) | (kind_N == 2), (kind_N == 0) | (kind_N == 2)
        measured = paired_difference(outcomes(before), outcomes(after), groups(n))
        inside += measured.low <= gain - loss <= measured.high
    assert LEAST <= inside / REPEATS <= MOST
