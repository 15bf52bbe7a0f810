"""Pieces: parts of a stage's work that are stored by their content, so that a changed row redoes only its own piece."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from mascing.errors import ConflictError
from mascing.schemas.conversation import Conversation
from mascing.storage.object_storage import Storage

Row = TypeVar("Row")

# A run of rows without a border is cut at this multiple of the wanted size.
_LONGEST = 4


def pieces_of(rows: Iterable[Row], size: int, name: Callable[[Row], str]) -> Iterator[list[Row]]:
    """Cut the rows, in their order, into pieces of about ``size`` rows; one piece stands in memory.

    A row is the last of its piece if its name says so (content-defined chunking, Muthitacharoen 2001). So a row that is
    added or removed changes its own piece and no border further on, as fixed sizes would.
    """
    piece: list[Row] = []
    for row in rows:
        piece.append(row)
        if _number(name(row)) % size == 0 or len(piece) == _LONGEST * size:
            yield piece
            piece = []
    if piece:
        yield piece


def by_id(conversation: Conversation) -> str:
    """The name of a conversation for `pieces_of`."""
    return conversation.id


Data = TypeVar("Data", bytes, bytes | None)


def stored(storage: Storage, path: str, make: Callable[[], Data]) -> Data:
    """The object at ``path``, made if nobody has stored it; the first writer's bytes hold for all.

    ``make`` may return None if its result must not be kept; the result is then None as well.
    """
    there = found(storage, path)
    if there is not None:
        return there
    data = make()
    return data if data is None else created(storage, path, data)


def found(storage: Storage, path: str) -> bytes | None:
    """The object at ``path``, or None if nobody has stored it."""
    try:
        return storage.read(path)
    except FileNotFoundError:
        return None


def created(storage: Storage, path: str, data: bytes) -> bytes:
    """``data``, stored at ``path``; or what is there, if somebody was first."""
    try:
        storage.create(path, data)
    except ConflictError:
        return storage.read(path)
    return data


def _number(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()[:8])
