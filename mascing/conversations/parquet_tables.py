"""Conversations and quarantined rows as Parquet tables."""

from collections.abc import Iterable

import pyarrow as pa

from mascing.conversations.intake.rows import Quarantined
from mascing.errors import DataError
from mascing.schemas.conversation import Conversation
from mascing.schemas.tables import CONVERSATIONS, QUARANTINE


def to_table(conversations: Iterable[Conversation]) -> pa.Table:
    """Return conversations as a CONVERSATIONS table: one row per conversation, in order."""
    return pa.Table.from_pylist([conversation.model_dump() for conversation in conversations], schema=CONVERSATIONS)


def from_table(table: pa.Table) -> list[Conversation]:
    """Return the conversations of a CONVERSATIONS table. Raises DataError if it is another table."""
    if not table.schema.equals(CONVERSATIONS):
        raise DataError("not a table of conversations: its columns differ from schemas.tables.CONVERSATIONS")
    return [
        Conversation.model_validate({**row, "metadata": dict(row["metadata"])})  # Arrow gives a map as pairs
        for row in table.to_pylist()
    ]


def quarantine_table(quarantined: Iterable[Quarantined]) -> pa.Table:
    """Return quarantined rows as a QUARANTINE table."""
    return pa.Table.from_pylist([vars(row) for row in quarantined], schema=QUARANTINE)
