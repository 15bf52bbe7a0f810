"""Replies stored by what made them: the same reply is never generated twice, whatever round, stage or run asks."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import pyarrow as pa

from mascing.conversations.reply import Reply
from mascing.engines.engine import Turn
from mascing.engines.table import ENGINES
from mascing.engines.transformers_engine import TransformersEngine
from mascing.masks.mask import Mask
from mascing.models.loading import Loaded
from mascing.schemas.config import RunConfig
from mascing.schemas.conversation import Conversation
from mascing.schemas.tables import REPLIES
from mascing.storage import parquet
from mascing.storage.fingerprint import fingerprint
from mascing.storage.object_storage import Storage
from mascing.tasks.running.identity import generation_identity
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
        return cls(f"replies/{fingerprint({'engine': version, **generation_identity(config, checkpoint)})}")

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
    known = {content: reply for path in others for content, reply in _replies_in(storage, path).items()}
    found = [known.get(content_of(row)) for row in conversations]
    missing = [row for row, reply in zip(conversations, found, strict=True) if reply is None]
    made = iter(generated(worker, config, missing, mask) if missing else ())
    return [next(made) if reply is None else reply for reply in found]


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


def generated(
    worker: Worker, config: RunConfig, conversations: Sequence[Conversation], mask: Mask | None
) -> list[Reply | Failed]:
    """One new reply per conversation, which is not stored; memory that runs out halves the batch."""
    loaded = worker.model(config.model)

    def complete_rows(rows: Sequence[Conversation]) -> list[Reply]:
        return worker.within_memory(
            "generate", config.generation.batch_size, lambda size: _complete(worker, loaded, config, rows, mask, size)
        )

    replies = surviving(complete_rows, conversations)
    worker.count("replies", len(replies))
    return replies


def _complete(
    worker: Worker,
    loaded: Loaded,
    config: RunConfig,
    rows: Sequence[Conversation],
    mask: Mask | None,
    batch_size: int,
) -> list[Reply]:
    settings = config.generation.model_copy(update={"batch_size": batch_size})
    turns = [Turn(row, mask) for row in rows]
    made = dict(TransformersEngine(loaded).replies(turns, settings, worker.count_batch))
    return [made[number].reply for number in range(len(rows))]


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
