"""A shift of the routing is found, noise is not, and the rate of false alarms is what it says."""

import numpy as np
import pytest

from mascing.errors import DataError
from mascing.statistics.routing_shift import RoutingShift, routing_shift

L, E, TOKENS = 4, 8, 40


def counts(random: np.random.Generator, n: int) -> np.ndarray:
    """Selections of one expert per token, with a taste of its own for each conversation: [P, L, E]."""
    tastes = random.dirichlet(np.full(E, 0.5), (n, L))
    return np.array([[random.multinomial(TOKENS, taste) for taste in of_one] for of_one in tastes])


def with_near_ties(random: np.random.Generator, before: np.ndarray) -> np.ndarray:
    """A few tokens of some conversations go to the next expert: conversations have many near ties, or none."""
    after = before.copy()
    for row in after:
        for _ in range(random.poisson(random.choice((0, 6)))):
            layer, expert = random.integers(L), random.integers(E)
            other = (expert + random.choice((-1, 1))) % E
            if row[layer, expert]:
                row[layer, expert] -= 1
                row[layer, other] += 1
    return after


def shift(before: np.ndarray, after: np.ndarray, size: int = 1) -> RoutingShift:
    tokens = np.full(len(before), TOKENS)
    return routing_shift(before, after, tokens, tokens, [f"g{n // size}" for n in range(len(before))])


def test_equal_selections_have_not_moved() -> None:
    before = counts(np.random.default_rng(0), 16)
    found = shift(before, before)
    assert found.moved_L.tolist() == [0] * L
    assert found.p_L.tolist() == [1] * L


def test_the_layer_that_moved_is_found_with_the_share_that_moved() -> None:
    random = np.random.default_rng(1)
    before = counts(random, 32)
    after = with_near_ties(random, before)
    taken = after[:, 2, 0] // 2
    after[:, 2, 0] -= taken
    after[:, 2, 1] += taken
    found = shift(before, after)
    assert found.moved_L[2] == pytest.approx(taken.sum() / (32 * TOKENS), rel=0.3)
    assert (found.p_L < 0.01).tolist() == [False, False, True, False]
    assert found.change_LE[2, 0] < 0 < found.change_LE[2, 1]


def test_a_change_of_a_single_group_is_no_evidence() -> None:
    before = counts(np.random.default_rng(2), 32)
    after = before.copy()
    after[:4, 1] = np.roll(before[:4, 1], 1, axis=1)  # four conversations of one group
    assert shift(before, after, size=4).p_L.min() > 0.05
    assert shift(before, before + (np.arange(E) == 0) - (np.arange(E) == 1), size=4).p_L.max() < 0.05


def test_eight_groups_that_all_moved_alike_are_enough() -> None:
    before = counts(np.random.default_rng(5), 16) + 1
    found = shift(before, before + (np.arange(E) == 0) - (np.arange(E) == 1), size=2)
    assert found.p_L.tolist() == [1 / 2**7] * L  # every pattern of signs once


def test_too_few_groups_are_refused() -> None:
    before = counts(np.random.default_rng(3), 14)
    with pytest.raises(DataError, match=r"7 groups .* too few"):
        shift(before, before, size=2)


def test_noise_raises_false_alarms_as_often_as_its_level_says() -> None:
    random = np.random.default_rng(4)
    alarms = 0
    for _ in range(200):
        before = counts(random, 24)
        alarms += shift(before, with_near_ties(random, before), size=2).p_L.min() <= 0.05
    assert 1 <= alarms <= 20  # 10 are expected; a binomial is outside with a chance of 0.2%
