"""Which conversations this model and these judges can use, found out before any work is done."""

from collections.abc import Mapping, Sequence
from typing import Any

from mascing.conversations.chat import check
from mascing.conversations.intake.rows import Quarantined
from mascing.errors import DataError
from mascing.judges.table import cannot_judge
from mascing.models.loading import context_length, load_tokenizer
from mascing.schemas.config import RunConfig
from mascing.schemas.conversation import Conversation
from mascing.tasks.running.isolation import quarantined, summary


def usable(
    conversations: Sequence[Conversation], row_of: Mapping[str, int], config: RunConfig
) -> tuple[list[Conversation], list[Quarantined]]:
    """The conversations that can be rendered, fitted and judged, and every other one with all its complaints.

    ``row_of`` says by id in which row of the file a conversation stands.

    Raises DataError if none can be used, ModelError if the model has no usable tokenizer.
    """
    tokenizer, context = load_tokenizer(config.model), context_length(config.model)
    room = context - config.generation.max_new_tokens if context else None
    kept: list[Conversation] = []
    refused: list[Quarantined] = []
    for conversation in conversations:
        complaints = _complaints(conversation, tokenizer, room, config)
        if complaints:
            refused.append(quarantined(row_of[conversation.id], conversation, "; ".join(complaints)))
        else:
            kept.append(conversation)
    if conversations and not kept:
        raise DataError(f"no conversation can be used with this model: {summary([row.reason for row in refused])}")
    return kept, refused


def _complaints(conversation: Conversation, tokenizer: Any, room: int | None, config: RunConfig) -> list[str]:
    complaints = []
    try:
        check(tokenizer, conversation, room)
    except DataError as error:
        # The quarantine names the conversation in a column of its own; without the name, equal reasons are counted.
        complaints.append(str(error).removeprefix(f"conversation {conversation.id!r}: "))
    kind = conversation.set.partition("/")[0]
    judge = getattr(config.behaviour, kind)
    if (lacking := cannot_judge(judge, conversation)) is not None:
        complaints.append(f"the judge of {kind} ({judge.kind}) cannot judge it: it {lacking}")
    return complaints
