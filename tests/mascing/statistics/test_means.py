"""The mean of paired differences: Student's t where groups are single, and wider where they are not."""

import numpy as np
import pytest
from scipy import stats

from mascing.errors import DataError
from mascing.statistics import mean_difference

VALUES = [0.5, -0.25, 0.75, 0.1, 0.0, 0.3, 0.9, -0.1]


def test_single_conversations_get_the_one_sample_t_test() -> None:
    mean, p = mean_difference(VALUES, [str(number) for number in range(8)])
    wanted = stats.ttest_1samp(VALUES, 0.0)
    assert p == pytest.approx(wanted.pvalue)
    assert (mean.low, mean.high) == pytest.approx(tuple(wanted.confidence_interval(0.95)))


def test_copies_in_a_group_tell_nothing_new() -> None:
    once = mean_difference(VALUES, [str(number) for number in range(8)])
    twice = mean_difference(VALUES * 2, [str(number) for number in range(8)] * 2)
    assert (twice[0].low, twice[0].high, twice[1]) == pytest.approx((once[0].low, once[0].high, once[1]))


def test_differences_that_are_all_equal_leave_no_doubt() -> None:
    groups = ["a", "b", "c"]
    assert mean_difference([0, 0, 0], groups)[1] == 1
    changed, p = mean_difference([0.5] * 3, groups)
    assert (changed.low, changed.high, p) == (0.5, 0.5, 0)


def test_one_group_is_refused() -> None:
    with pytest.raises(DataError, match="needs two groups or more to be tested, not 1"):
        mean_difference([0.1, 0.2], ["a", "a"])


def test_the_interval_covers_the_truth_of_grouped_differences() -> None:
    drawn = np.random.default_rng(0)
    groups = [str(number // 3) for number in range(90)]
    covered = 0
    for _ in range(2000):
        values = 0.2 + np.repeat(drawn.normal(0, 0.3, 30), 3) + drawn.normal(0, 0.2, 90)
        mean, _ = mean_difference(list(values), groups)
        covered += mean.low <= 0.2 <= mean.high
    assert 0.935 <= covered / 2000 <= 0.965
