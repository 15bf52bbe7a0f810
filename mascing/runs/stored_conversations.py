"""Conversations as a finished stage stores them: rows of a table, which are read whenever they are asked for."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, overload

import numpy as np
import pyarrow as pa

from mascing.conversations.parquet_tables import from_table
from mascing.runs.table_parts import PART_ROWS, LocalTable, Positions, StoredTable
from mascing.schemas.conversation import Conversation


class Located(NamedTuple):
    """Where a conversation stands in its table, and what statistics ask of it: its id, its group and its set."""

    position: int
    id: str
    group_id: str
    set: str


class StoredConversations(Sequence[Conversation]):
    """The conversations at ``positions`` of ``table``, in that order; workers can receive it.

    Only their positions are held. Whoever reads one by its number or all in their order has the rows of a few parts in
    memory; errors as for :meth:`StoredTable.parts`. A table of a few rows may be in memory itself.
    """

    def __init__(self, table: StoredTable | LocalTable | pa.Table, positions: Positions | None = None) -> None:
        """All rows of the table without ``positions``."""
        self.table = table
        self.positions: Positions = range(len(table)) if positions is None else positions

    def __len__(self) -> int:
        return len(self.positions)

    @overload
    def __getitem__(self, index: int) -> Conversation: ...
    @overload
    def __getitem__(self, index: slice) -> "StoredConversations": ...
    def __getitem__(self, index: int | slice) -> "Conversation | StoredConversations":
        """The conversation with this number, or those of a slice, which are not read yet."""
        if isinstance(index, slice):
            return StoredConversations(self.table, self.positions[index])
        [conversation] = from_table(self._rows([self.positions[index]]))
        return conversation

    def __iter__(self) -> Iterator[Conversation]:
        for start in range(0, len(self), PART_ROWS):
            yield from from_table(self._rows(self.positions[start : start + PART_ROWS]))

    def where(self, test: Callable[[Conversation], bool]) -> "StoredConversations":
        """Those that pass a test, which are all read once."""
        both = zip(self.positions, self, strict=True)
        return self.at([int(position) for position, conversation in both if test(conversation)])

    def at(self, positions: Sequence[int]) -> "StoredConversations":
        """The conversations at these positions of the same table."""
        return StoredConversations(self.table, np.array(positions, dtype=np.int64))

    def here(self) -> "StoredConversations":
        """The same conversations, copied to the local disk, for whoever reads them one by one and again and again."""
        return StoredConversations(self.table.here(), self.positions) if isinstance(self.table, StoredTable) else self

    def located(self) -> list[Located]:
        """What the driver of a stage knows of each conversation."""
        rows: list[Located] = []
        for start in range(0, len(self), PART_ROWS):
            positions = self.positions[start : start + PART_ROWS]
            columns = self._rows(positions).select(["id", "group_id", "set"]).to_pydict()
            rows += map(Located, map(int, positions), columns["id"], columns["group_id"], columns["set"])
        return rows

    def by_id(self) -> "StoredById":
        """The same conversations by their ids."""
        return StoredById(self)

    def _rows(self, positions: Positions | Sequence[int]) -> pa.Table:
        return self.table.take(np.asarray(positions, dtype=np.int64))


class StoredById(Mapping[str, Conversation]):
    """Stored conversations by id; only the ids are held."""

    def __init__(self, conversations: StoredConversations) -> None:
        self._conversations = conversations
        self._numbers = {row.id: number for number, row in enumerate(conversations.located())}

    def __getitem__(self, name: str) -> Conversation:
        return self._conversations[self._numbers[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._numbers)

    def __len__(self) -> int:
        return len(self._numbers)
