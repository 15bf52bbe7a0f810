"""Units that name rows of a table."""

import pickle

import numpy as np
import pytest

from mascing.tasks.streaming.rows import Rows, in_order


def test_a_unit_of_a_range_is_small_however_many_rows_it_has() -> None:
    unit = Rows("p", range(10_000, 20_000))
    assert len(pickle.dumps(unit)) < 250
    assert list(unit.part(10, 12).positions) == [10_010, 10_011]
    assert list(unit.at([0, 5]).positions) == [10_000, 10_005]


def test_parts_of_parts_name_the_rows_of_the_table() -> None:
    unit = Rows("p", np.array([9, 4, 7, 1]))
    assert list(unit.part(1, 4).part(1, 3).positions) == [7, 1]
    assert (len(unit), len(unit.part(1, 4)), unit.part(1, 4).path) == (4, 3, "p")


def test_what_is_made_comes_in_the_order_of_the_units() -> None:
    units = [Rows(name, range(1)) for name in "abcd"]
    finished = [(units[place], place) for place in (2, 0, 3, 1)]
    assert [(unit.path, value) for unit, value in in_order(units, finished)] == [("a", 0), ("b", 1), ("c", 2), ("d", 3)]


def test_nothing_is_drawn_before_it_is_needed() -> None:
    units = [Rows(name, range(1)) for name in "ab"]
    drawn = iter([(units[0], 0), (units[1], 1)])
    ordered = in_order(units, drawn)
    assert next(ordered)[1] == 0
    assert next(drawn)[1] == 1
    with pytest.raises(StopIteration):
        next(drawn)
