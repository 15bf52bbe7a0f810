"""Conversations that are replied to: rows of a table, in blocks that are named by what a reply answers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from mascing.conversations.parquet_tables import to_table
from mascing.runs.stored_conversations import StoredConversations
from mascing.runs.table_parts import PART_ROWS, Positions, StoredTable
from mascing.schemas.conversation import Conversation
from mascing.storage.fingerprint import fingerprint
from mascing.tasks.running.pieces import pieces_of
from mascing.tasks.running.replies import content_of
from mascing.tasks.streaming.rows import Rows

# Conversations per block: a batch. Fixed, so that the number of workers never changes a unit.
_ROWS = 64


@dataclass(frozen=True)
class Asked:
    """The rows at ``positions`` of a table, in that order; as sample 1, 2, ... their replies are drawn anew."""

    table: StoredTable | pa.Table
    positions: Positions
    sample: int = 0

    @classmethod
    def of(cls, conversations: StoredConversations) -> "Asked":
        """Stored conversations, which are read block by block."""
        return cls(conversations.table, conversations.positions)

    @classmethod
    def given(cls, conversations: Sequence[Conversation]) -> "Asked":
        """Conversations that nobody has stored, or few."""
        return cls(to_table(conversations), range(len(conversations)))

    def blocks(self) -> Iterator[tuple[str, Positions]]:
        """The rows in blocks, each with a digest of what replies to it answer; few are in memory."""
        for block in pieces_of(self._numbered(), _ROWS, lambda row: row[1].id):
            yield fingerprint([content_of(row) for _, row in block]), np.array([position for position, _ in block])

    def read(self, rows: Rows) -> list[Conversation]:
        """The conversations of some of the rows, as they are asked."""
        return [self._renamed(row) for row in rows.read(self.table)]

    def id_of(self, asked: Conversation) -> str:
        """The id in the table of a conversation as it is asked."""
        return asked.id.removesuffix(self._suffix)

    def _numbered(self) -> Iterator[tuple[int, Conversation]]:
        for start in range(0, len(self.positions), PART_ROWS):
            some = Rows("", self.positions[start : start + PART_ROWS])
            yield from zip(some.positions, self.read(some), strict=True)

    def _renamed(self, conversation: Conversation) -> Conversation:
        """A sampled reply is seeded by the conversation's id, so each sample needs an id of its own."""
        return conversation.model_copy(update={"id": f"{conversation.id}{self._suffix}"})

    @property
    def _suffix(self) -> str:
        return f"#{self.sample}" if self.sample else ""
