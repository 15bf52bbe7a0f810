"""Conversations that are replied to: rows of a table, in blocks that are named by what a reply answers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mascing.conversations.parquet_tables import to_table
from mascing.runs.stored_conversations import StoredConversations
from mascing.runs.table_parts import Positions
from mascing.schemas.conversation import Conversation
from mascing.storage.fingerprint import fingerprint
from mascing.tasks.replying.replies import content_of
from mascing.tasks.running.pieces import pieces_of
from mascing.tasks.streaming.rows import Rows

# Conversations per block: a batch. Fixed, so that the number of workers never changes a unit.
_ROWS = 64


@dataclass(frozen=True)
class Asked:
    """Conversations in the order in which they are asked; as sample 1, 2, ... their replies are drawn anew."""

    conversations: StoredConversations
    sample: int = 0

    @classmethod
    def given(cls, conversations: Sequence[Conversation]) -> "Asked":
        """A few conversations that nobody has stored."""
        return cls(StoredConversations(to_table(conversations)))

    def blocks(self) -> Iterator[tuple[str, Positions]]:
        """The rows in blocks, each with a digest of what replies to it answer; few are in memory."""
        for block in pieces_of(self._numbered(), _ROWS, lambda row: row[1].id):
            yield fingerprint([content_of(row) for _, row in block]), np.array([position for position, _ in block])

    def read(self, rows: Rows) -> list[Conversation]:
        """The conversations of some of the rows, as they are asked."""
        return [self._renamed(row) for row in rows.read(self.conversations.table)]

    def id_of(self, asked: Conversation) -> str:
        """The id in the table of a conversation as it is asked."""
        return asked.id.removesuffix(self._suffix)

    def _numbered(self) -> Iterator[tuple[int, Conversation]]:
        return zip(self.conversations.positions, map(self._renamed, self.conversations), strict=True)

    def _renamed(self, conversation: Conversation) -> Conversation:
        """A sampled reply is seeded by the conversation's id, so each sample needs an id of its own."""
        return conversation.model_copy(update={"id": f"{conversation.id}{self._suffix}"})

    @property
    def _suffix(self) -> str:
        return f"#{self.sample}" if self.sample else ""
