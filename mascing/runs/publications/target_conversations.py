"""The conversations that a mask should change, as the run that made it has stored them."""

from collections.abc import Iterator
from heapq import nsmallest
from typing import Any

from mascing.runs.readers import conversations_of
from mascing.schemas.conversation import Conversation
from mascing.schemas.finished import Prepared
from mascing.storage.manifests import read_manifest
from mascing.storage.object_storage import Storage


def shortest_targets(storage: Storage, card: Any, most: int) -> list[Conversation]:
    """The shortest target conversations of the dev split of the run that a mask's card names.

    The shortest fit any context and cost a server least. There are none if the card names no run, or if the run is not
    in this storage. Raises StorageError or DataError if what is stored there cannot be read.
    """
    match card:
        case {"data": {"prepare": str(prefix)}}:
            return nsmallest(most, _targets(storage, prefix), key=_characters)
        case _:
            return []


def _targets(storage: Storage, prefix: str) -> Iterator[Conversation]:
    try:
        prepared = read_manifest(storage, prefix, Prepared)
    except FileNotFoundError:
        return
    yield from (row for row in conversations_of(storage, prepared, "dev") if row.set == "target")


def _characters(conversation: Conversation) -> int:
    return sum(len(turn.content) for turn in conversation.messages)
