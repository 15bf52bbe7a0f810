"""Rows that fail are set aside; nothing else is lost with them."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from mascing.errors import DataError, ModelError
from mascing.tasks.running.isolation import Failed, map_surviving, refuse_many, surviving
from tests.tasks.here_pool import HerePool


def doubled(rows: Sequence[int]) -> list[int]:
    if 3 in rows or 7 in rows:
        raise IndexError(f"no place for {next(row for row in rows if row in (3, 7))}")
    return [2 * row for row in rows]


def test_a_row_that_raises_is_set_aside_with_its_reason() -> None:
    values = surviving(doubled, range(10))
    assert [value for value in values if not isinstance(value, Failed)] == [0, 2, 4, 8, 10, 12, 16, 18]
    assert values[3] == Failed("IndexError: no place for 3")
    assert isinstance(values[7], Failed)


def test_what_no_row_can_cause_is_raised() -> None:
    def broken(rows: Sequence[int]) -> list[int]:
        raise ModelError("no routers")

    with pytest.raises(ModelError):
        surviving(broken, range(4))


class MortalPool(HerePool):
    """A pool whose worker dies of every item that holds a 5."""

    def map(
        self,
        function: Callable[..., Any],
        shared: Any,
        items: Sequence[Any],
        progress: Callable[[int, int], None],
        died: Callable[[str], Any] | None = None,
    ) -> list[Any]:
        assert died is not None
        return [died("killed") if 5 in item else function(self.worker, shared, item) for item in items]


def test_a_row_that_kills_its_worker_is_found_by_halving() -> None:
    values = map_surviving(
        MortalPool(),
        lambda worker, shared, item: list(item),
        None,
        [[1, 2], [3, 4, 5, 6], [7]],
        lambda done, total: None,
        halves=lambda item: [item[: len(item) // 2], item[len(item) // 2 :]] if len(item) > 1 else [],
        lost=lambda item, failed: [failed],
    )
    assert values == [[1, 2], [3, 4], [Failed("killed")], [6], [7]]


def test_few_failures_are_borne_and_many_stop_the_stage_with_their_share() -> None:
    refuse_many("label", ["too long"] * 5, 100, 0.05)
    with pytest.raises(DataError, match=r"label: 6 of 100 conversations .*\(5%\).*5 x too long; 1 x no template"):
        refuse_many("label", [*["too long"] * 5, "no template"], 100, 0.05)
