"""Conversations as JSON Lines and as Parquet tables. A row that cannot be used is quarantined with the reason."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pydantic import ValidationError

from mascing.errors import DataError
from mascing.schemas.conversation import Conversation
from mascing.schemas.tables import CONVERSATIONS, QUARANTINE
from mascing.validation import first_complaint

_TEXT_SHOWN = 200
_REASONS_SHOWN = 3
_SURROGATE = re.compile(r"[\ud800-\udfff]")


@dataclass(frozen=True)
class Quarantined:
    """A row that was not used: its line number (from 1), its id if readable, the reason, and the start of its text."""

    row: int
    id: str | None
    reason: str
    text: str


def parse_conversations(lines: Iterable[str], max_characters: int) -> tuple[list[Conversation], list[Quarantined]]:
    """Return the usable conversations in order, and every other row with the reason; blank lines are skipped.

    ``max_characters`` bounds the text of all turns of a conversation together. If rows share an id, the first is used.
    Raises DataError if no row is usable.
    """
    conversations: list[Conversation] = []
    quarantined: list[Quarantined] = []
    lines_of: dict[str, int] = {}
    for row, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            conversation = _parse(line, max_characters)
            if conversation.id in lines_of:
                raise _Unusable(
                    f"duplicate id {conversation.id!r}: line {lines_of[conversation.id]} has it already",
                    conversation.id,
                )
        except _Unusable as unusable:
            quarantined.append(Quarantined(row, unusable.id, f"line {row}: {unusable}", _readable(line[:_TEXT_SHOWN])))
        else:
            lines_of[conversation.id] = row
            conversations.append(conversation)
    if not conversations:
        raise DataError(_nothing_left(quarantined))
    return conversations, quarantined


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


class _Unusable(Exception):
    def __init__(self, reason: str, row_id: str | None = None) -> None:
        super().__init__(reason)
        self.id = row_id


def _parse(line: str, max_characters: int) -> Conversation:
    if _SURROGATE.search(line):
        raise _Unusable("not UTF-8 text")
    try:
        value = json.loads(line, parse_constant=_refuse_constant, object_pairs_hook=_object)
    except RecursionError as error:
        raise _Unusable("not a conversation: nested too deeply") from error
    except ValueError as error:
        raise _Unusable(f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise _Unusable(f"not a JSON object but {_kind(value)}")
    if _SURROGATE.search(json.dumps(value, ensure_ascii=False)):
        raise _Unusable("a text holds half of a surrogate pair, which is no character")
    row_id = value["id"] if isinstance(value.get("id"), str) else None
    try:
        conversation = Conversation.model_validate(value)
    except ValidationError as error:
        raise _Unusable(first_complaint(error, Conversation), row_id) from error
    characters = sum(len(message.content) for message in conversation.messages)
    if characters > max_characters:
        raise _Unusable(f"over-long: {characters} characters, at most {max_characters} allowed", conversation.id)
    return conversation


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON value")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} stands there twice")
    return value


def _kind(value: object) -> str:
    return {list: "a list", str: "a string", bool: "true or false", type(None): "null"}.get(type(value), "a number")


def _readable(text: str) -> str:
    return _SURROGATE.sub("\ufffd", text)


def _nothing_left(quarantined: list[Quarantined]) -> str:
    if not quarantined:
        return "no conversations: the file has no rows; it must be JSON Lines with one conversation per line"
    shown = "; ".join(row.reason for row in quarantined[:_REASONS_SHOWN])
    more = f"; and {len(quarantined) - _REASONS_SHOWN} more" if len(quarantined) > _REASONS_SHOWN else ""
    return f"none of the {len(quarantined)} conversations can be used: {shown}{more}"
