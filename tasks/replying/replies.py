"""Replies stored by what made them: the same reply is never generated twice, whatever round, stage or run asks."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import pyarrow as pa

from mascing.conversations.reply import Reply
from mascing.engines.engine import Engine, Turn
from mascing.engines.table import ENGINES
from mascing.masks.mask import Mask
from mascing.schemas.config import RunConfig
from mascing.schemas.conversation import Conversation
from mascing.schemas.tables import REPLIES
from mascing.storage import parquet
from mascing.storage.fingerprint import fingerprint
from mascing.storage.object_storage import Storage
from mascing.tasks.running.identity import engine_part, generation_identity
from mascing.tasks.running.isolation import Failed, surviving
from mascing.tasks.workers.worker import Worker

# Pieces whose replies a worker keeps in memory.
_KEPT_PIECES = 256


@dataclass(frozen=True)
class RepliesFolder:
    """The replies of one checkpoint under one set of generation settings, by mask."""

    path: str

    @classmethod
    def of(cls, config: RunConfig, checkpoint: str) -> "RepliesFolder":
        """The folder for a run's settings; ``checkpoint`` is the fingerprint of weights and tokenizer."""
        version = ENGINES["transformers"].version
        identity = {"engine": version, **generation_identity(config, checkpoint), **engine_part(config)}
        return cls(f"replies/{fingerprint(identity)}")

    def under(self, mask: Mask | None) -> str:
        """The folder of one mask; None is the unsteered model."""
        return f"{self.path}/{'unsteered' if mask is None else mask.digest}"


def content_of(conversation: Conversation) -> str:
    """What a reply answers, as a digest: the turns, and the id, which seeds a sampled reply."""
    return fingerprint([conversation.id, [[turn.role, turn.content] for turn in conversation.messages]])


def replies_to(
    worker: Worker,
    storage: Storage,
    config: RunConfig,
    conversations: Sequence[Conversation],
    mask: Mask | None,
    others: Sequence[str],
) -> list[Reply | Failed]:
    """One reply per conversation: found in ``others``, pieces of the same folder, or generated."""
    [replies] = replies_to_all(worker, storage, config, [Sought(conversations, mask, others)])
    return replies


class Sought(NamedTuple):
    """Conversations that are replied to under a mask, and stored pieces of its folder that may hold the replies."""

    conversations: Sequence[Conversation]
    mask: Mask | None
    others: Sequence[str]


def replies_to_all(
    worker: Worker, storage: Storage, config: RunConfig, sought: Sequence[Sought]
) -> list[list[Reply | Failed]]:
    """The replies of several at once: what is not found is generated in one call of the engine, whatever the masks."""
    found = [_found(storage, each) for each in sought]
    turns = [
        Turn(row, each.mask)
        for each, replies in zip(sought, found, strict=True)
        for row, reply in zip(each.conversations, replies, strict=True)
        if reply is None
    ]
    made = iter(generated(worker, config, turns) if turns else ())
    return [[next(made) if reply is None else reply for reply in replies] for replies in found]


def _found(storage: Storage, sought: Sought) -> list[Reply | None]:
    if not sought.others:
        return [None] * len(sought.conversations)
    known = {content: reply for path in sought.others for content, reply in _replies_in(storage, path).items()}
    return [known.get(content_of(row)) for row in sought.conversations]


def to_bytes(conversations: Sequence[Conversation], replies: Sequence[Reply | Failed]) -> bytes:
    """A piece of replies, as bytes."""
    return parquet.to_bytes(to_table(conversations, replies))


def to_table(conversations: Sequence[Conversation], replies: Sequence[Reply | Failed]) -> pa.Table:
    """A piece of replies; a conversation without one keeps the reason."""
    rows = [
        {"conversation_id": row.id, "content": content_of(row), **_columns(reply)}
        for row, reply in zip(conversations, replies, strict=True)
    ]
    return pa.Table.from_pylist(rows, schema=REPLIES)


def from_bytes(data: bytes, path: str) -> list[Reply | Failed]:
    """Inverse of :func:`to_bytes`; raises DataError, which names ``path``, if the bytes are damaged."""
    return of_table(parquet.from_bytes(data, path))


def of_table(table: pa.Table) -> list[Reply | Failed]:
    """Inverse of :func:`to_table`."""
    return [reply for _, reply in _rows_of(table)]


def generated(worker: Worker, config: RunConfig, turns: Sequence[Turn]) -> list[Reply | Failed]:
    """One new reply per turn, which is not stored; memory that runs out halves the batch of `transformers`."""
    engine = worker.engine(config.model, config.engine)

    def complete_rows(rows: Sequence[Turn]) -> list[Reply]:
        return worker.within_memory(
            "generate", config.generation.batch_size, lambda size: _complete(worker, engine, config, rows, size)
        )

    replies = surviving(complete_rows, turns)
    worker.count("replies", len(replies))
    return replies


def _complete(worker: Worker, engine: Engine, config: RunConfig, turns: Sequence[Turn], batch_size: int) -> list[Reply]:
    settings = config.generation.model_copy(update={"batch_size": batch_size})
    made = dict(engine.replies(turns, settings, worker.count_batch))
    return [made[number].reply for number in range(len(turns))]


@lru_cache(maxsize=_KEPT_PIECES)
def _replies_in(storage: Storage, path: str) -> dict[str, Reply]:
    """The replies of a stored piece by what they answer."""
    table = parquet.from_bytes(storage.read(path), path)
    return {content: reply for content, reply in _rows_of(table) if isinstance(reply, Reply)}


def _rows_of(table: pa.Table) -> list[tuple[str, Reply | Failed]]:
    rows = table.drop_columns("conversation_id").to_pylist()
    return [(row.pop("content"), _reply_of(**row)) for row in rows]


def _columns(reply: Reply | Failed) -> dict[str, Any]:
    if isinstance(reply, Failed):
        return {**asdict(Reply("")), "failure": reply.reason, "traceback": reply.traceback}
    return asdict(reply)


def _reply_of(failure: str | None, traceback: str | None, **columns: Any) -> Reply | Failed:
    return Reply(**columns) if failure is None else Failed(failure, traceback or "")
