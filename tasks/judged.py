"""Judged replies: what a worker makes of a model, a mask and conversations, for the select and evaluate stages."""

from collections.abc import Sequence

from mascing.engine import complete, prompts_of
from mascing.judges import judge_all
from mascing.mask import Mask
from schemas.config import RunConfig
from schemas.conversation import Conversation
from tasks.actors import Worker

Row = dict[str, str]


def judged_replies(
    worker: Worker, config: RunConfig, conversations: Sequence[Conversation], masks: Sequence[tuple[str, Mask | None]]
) -> list[list[Row]]:
    """For each (method, mask) one VERDICTS row a conversation; mask None is the model as it is.

    The conversations are rendered once for all masks.
    """
    loaded = worker.model(config.model)
    prompts = prompts_of(loaded, conversations, config.generation)
    return [
        _rows(config, method, conversations, complete(loaded, prompts, mask, config.generation))
        for method, mask in masks
    ]


def _rows(config: RunConfig, method: str, conversations: Sequence[Conversation], replies: Sequence[str]) -> list[Row]:
    verdicts = judge_all(config.behaviour, conversations, replies)
    return [
        {
            "conversation_id": conversation.id,
            "group_id": conversation.group_id,
            "set": conversation.set,
            "method": method,
            "reply": reply,
            "outcome": verdict.outcome,
            "reason": verdict.reason,
        }
        for conversation, reply, verdict in zip(conversations, replies, verdicts, strict=True)
    ]
