"""Replies stored by what made them: the same replies are never generated twice, whatever stage or run asks."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from mascing.conversations.chat import Prompt
from mascing.conversations.reply import Reply
from mascing.engines.generation import complete, prompts_of
from mascing.masks.mask import Mask
from mascing.models.loading import Loaded
from mascing.schemas.config import RunConfig
from mascing.schemas.conversation import Conversation
from mascing.schemas.tables import REPLIES
from mascing.storage import parquet
from mascing.storage.fingerprint import fingerprint
from mascing.storage.object_storage import Storage
from mascing.tasks.running.actors import Worker
from mascing.tasks.running.identity import generation_identity
from mascing.tasks.running.isolation import Failed, surviving
from mascing.tasks.running.pieces import stored

# Raise it whenever the engine would give other replies for the same inputs, or they are stored in another way.
_ENGINE = 2


def replies_to(
    worker: Worker,
    storage: Storage,
    config: RunConfig,
    checkpoint: str,
    conversations: Sequence[Conversation],
    mask: Mask | None,
) -> list[Reply | Failed]:
    """One reply per conversation of a piece, read from storage or generated and stored.

    ``checkpoint`` is the fingerprint of weights and tokenizer. Rows that fail are tried again by whoever asks next.
    """
    made: list[Reply | Failed] = []

    def make() -> bytes | None:
        loaded = worker.model(config.model)
        made.extend(generated(loaded, config, rendered(loaded, config, conversations), mask))
        replies = [reply for reply in made if isinstance(reply, Reply)]
        return _to_bytes(conversations, replies) if len(replies) == len(made) else None

    path = _path(config, checkpoint, conversations, mask)
    data = stored(storage, path, make)
    return made if data is None else _from_bytes(data, storage.locate(path))


def rendered(loaded: Loaded, config: RunConfig, conversations: Sequence[Conversation]) -> list[Prompt | Failed]:
    """The prompt of each conversation."""
    return surviving(lambda rows: prompts_of(loaded, rows, config.generation), conversations)


def generated(
    loaded: Loaded, config: RunConfig, prompts: Sequence[Prompt | Failed], mask: Mask | None
) -> list[Reply | Failed]:
    """The reply to each prompt under the mask; what could not be rendered stays failed."""
    usable = [prompt for prompt in prompts if isinstance(prompt, Prompt)]
    replies = iter(surviving(lambda rows: complete(loaded, rows, mask, config.generation), usable) if usable else ())
    return [next(replies) if isinstance(prompt, Prompt) else prompt for prompt in prompts]


def _path(config: RunConfig, checkpoint: str, conversations: Sequence[Conversation], mask: Mask | None) -> str:
    identity = {
        "engine": _ENGINE,
        **generation_identity(config, checkpoint),
        "mask": mask.digest if mask is not None else None,
        "conversations": [[row.id, [[turn.role, turn.content] for turn in row.messages]] for row in conversations],
    }
    return f"replies/{fingerprint(identity)}.parquet"


def _to_bytes(conversations: Sequence[Conversation], replies: Sequence[Reply]) -> bytes:
    rows: list[dict[str, Any]] = [
        {"conversation_id": conversation.id, **asdict(reply)}
        for conversation, reply in zip(conversations, replies, strict=True)
    ]
    return parquet.to_bytes(pa.Table.from_pylist(rows, schema=REPLIES))


def _from_bytes(data: bytes, name: str) -> list[Reply | Failed]:
    rows = parquet.from_bytes(data, name).drop_columns("conversation_id").to_pylist()
    return [Reply(**row) for row in rows]
