"""Generate and judge replies under masks, for the select, evaluate and robustness stages."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mascing.conversations.reply import Reply
from mascing.engines.generation import complete, prompts_of
from mascing.judges.judging import judge_all
from mascing.masks.mask import Mask
from mascing.schemas.config import RunConfig
from mascing.schemas.conversation import Conversation
from mascing.tasks.running.actors import Pool, Worker

BASELINE = "baseline"
"""The method name in the rows of the unsteered model."""

# Masks per item: enough to share the rendering of the conversations, few enough to keep all workers busy.
_MASKS = 4

Row = dict[str, Any]
Steered = tuple[str, Mask | None]
"""The name of a method and one of its masks; None is the unsteered model."""


def judged_on_pool(
    pool: Pool,
    config: RunConfig,
    conversations: Sequence[Conversation],
    masks: Sequence[Steered],
    progress: Callable[[int, int], None],
    at_once: int = _MASKS,
) -> list[list[Row]]:
    """`judged_replies` on the workers of the pool, ``at_once`` masks per item."""
    items = [list(masks[start : start + at_once]) for start in range(0, len(masks), at_once)]
    judged = pool.map(_judge, _Shared(config, tuple(conversations)), items, progress)
    return [rows for part in judged for rows in part]


def judged_replies(
    worker: Worker, config: RunConfig, conversations: Sequence[Conversation], masks: Sequence[Steered]
) -> list[list[Row]]:
    """For each (method, mask), one VERDICTS row per conversation.

    The conversations are rendered once for all masks.
    """
    loaded = worker.model(config.model)
    prompts = prompts_of(loaded, conversations, config.generation)
    return [
        _rows(config, method, conversations, complete(loaded, prompts, mask, config.generation))
        for method, mask in masks
    ]


@dataclass(frozen=True)
class _Shared:
    config: RunConfig
    conversations: tuple[Conversation, ...]


def _judge(worker: Worker, shared: _Shared, masks: Sequence[Steered]) -> list[list[Row]]:
    return judged_replies(worker, shared.config, shared.conversations, masks)


def _rows(config: RunConfig, method: str, conversations: Sequence[Conversation], replies: Sequence[Reply]) -> list[Row]:
    verdicts = judge_all(config.behaviour, conversations, replies)
    return [
        {
            "conversation_id": conversation.id,
            "group_id": conversation.group_id,
            "set": conversation.set,
            "method": method,
            "reply": reply.text,
            "thought": reply.thought,
            "cut_off": reply.cut_off,
            "outcome": verdict.outcome,
            "reason": verdict.reason,
        }
        for conversation, reply, verdict in zip(conversations, replies, verdicts, strict=True)
    ]
