"""Units of work that name rows of a stored table: what they hold is read where it is needed, by the worker."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Self, TypeVar

import numpy as np
import pyarrow as pa

from mascing.conversations.parquet_tables import from_table
from mascing.runs.table_parts import Positions, StoredTable
from mascing.schemas.conversation import Conversation

Value = TypeVar("Value")


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows at ``positions`` of a table, worked on together; what is made of them is stored at ``path``."""

    path: str
    positions: Positions

    def __len__(self) -> int:
        return len(self.positions)

    def part(self, start: int, stop: int) -> Self:
        """These rows alone."""
        return replace(self, positions=self.positions[start:stop])

    def at(self, places: Iterable[int]) -> Self:
        """The rows in these places of the unit."""
        return replace(self, positions=np.array([self.positions[place] for place in places], dtype=np.int64))

    def read(self, table: StoredTable | pa.Table) -> list[Conversation]:
        """The conversations themselves."""
        return from_table(table.take(np.asarray(self.positions, dtype=np.int64)))


U = TypeVar("U", bound=Rows)


def in_order(units: Iterable[U], made: Iterable[tuple[U, Value]]) -> Iterator[tuple[U, Value]]:
    """What was made of distinct units in their order; only what is there too early is held back."""
    finished = iter(made)
    early: dict[str, Value] = {}
    for unit in units:
        while unit.path not in early:
            done, value = next(finished)
            early[done.path] = value
        yield unit, early.pop(unit.path)
    # The queue tells of its last unit once it is asked for another one.
    for _ in finished:
        raise AssertionError("more was made than asked")
