"""Methods are ranked over tasks with intervals that hold what they promise."""

import random

import pytest

from mascing.campaigns.ranking import Measured, Task, ranked
from tests.mascing.campaigns.made_up import measured


def seeds(number: int, gained: int, groups: int = 20) -> list[Measured]:
    return [measured([gained] * groups)] * number


def test_the_method_with_the_highest_uplift_everywhere_is_surely_first() -> None:
    task: Task = {"good": seeds(2, 3), "bad": seeds(2, 1), "tied": seeds(2, 1)}
    good, *others = ranked([task, task])
    assert (good.method, good.rank.low, good.rank.high, good.best) == ("good", 1, 1, 1)
    assert good.uplift.value == 0.75
    assert [each.rank.value for each in others] == [2.5, 2.5]


def test_only_tasks_count_that_all_methods_finished() -> None:
    whole: Task = {"a": seeds(1, 3), "b": seeds(1, 1)}
    found = ranked([whole, {"b": seeds(1, 4)}])
    assert [(each.method, each.tasks) for each in found] == [("a", 1), ("b", 1)]
    assert ranked([{"a": seeds(1, 3)}, {"b": seeds(1, 4)}]) == []


def test_one_method_alone_has_no_rank() -> None:
    assert ranked([{"a": seeds(2, 1)}]) == []
    assert ranked([]) == []


def test_the_mean_uplift_of_one_cell_has_the_interval_of_that_cell() -> None:
    task: Task = {"a": seeds(1, 3), "b": [measured([0, 1, 2, 3] * 5)]}
    for found in ranked([task]):
        (cell,) = task[found.method]
        bounds = (found.uplift.value, found.uplift.low, found.uplift.high)
        assert bounds == pytest.approx((cell.uplift.value, cell.uplift.low, cell.uplift.high))


def test_equal_outcomes_everywhere_leave_doubt_that_shrinks_with_the_number_of_tasks() -> None:
    task: Task = {"a": seeds(2, 3), "b": seeds(2, 4)}
    widths = [found.uplift.high - found.uplift.low for n in (1, 4) for found in ranked([task] * n)]
    assert min(widths) > 0.01
    assert widths[2] == pytest.approx(widths[0] / 2)


def test_the_interval_of_the_mean_uplift_covers_it() -> None:
    """Seeds scatter and groups differ; tests/bench/coverage/ranking_coverage.py does it at length."""
    rng, covered, trials = random.Random(0), 0, 60
    for _ in range(trials):
        tasks = [{name: _drawn(rng, mean) for name, mean in (("a", 0.5), ("b", 0.3))} for _ in range(4)]
        (found,) = (each for each in ranked(tasks, samples=200) if each.method == "a")
        covered += found.uplift.low <= 0.5 <= found.uplift.high
    assert covered / trials == pytest.approx(0.93, abs=0.07)


def _drawn(rng: random.Random, mean: float) -> list[Measured]:
    """Two seeds, each with its own true uplift around the mean."""
    found = []
    for _ in range(2):
        share = mean + rng.uniform(-0.2, 0.2)
        found.append(measured([sum(rng.random() < share for _ in range(4)) for _ in range(20)]))
    return found
