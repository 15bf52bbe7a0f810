"""Conversations as JSON Lines and as Parquet tables. A row that cannot be used is quarantined with the reason."""

from collections.abc import Iterable

import pyarrow as pa

from mascing.conversations.intake.formats import Format, json_lines
from mascing.conversations.intake.reader import Reading, read_all
from mascing.conversations.intake.rows import Quarantined
from mascing.errors import DataError
from mascing.schemas.conversation import Conversation
from mascing.schemas.tables import CONVERSATIONS, QUARANTINE


def parse_conversations(lines: Iterable[str], max_characters: int) -> tuple[list[Conversation], list[Quarantined]]:
    """Return the usable conversations in order, and every other row with the reasons; blank lines are skipped.

    ``max_characters`` bounds the text of all turns of a conversation together. If rows share an id, the first is used.
    Raises DataError if no row is usable.
    """
    kept = list(lines)
    read = read_all(Reading([Format("JSON Lines", "line", lambda: json_lines(kept))], None, max_characters))
    return read.conversations, read.quarantined


def decode_lines(data: bytes) -> list[str]:
    """Split the bytes of a JSON Lines file into lines; bytes that are not UTF-8 spoil only their own line."""
    return data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape").split("\n")


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
