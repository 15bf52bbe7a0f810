"""What keeps a conversation from being used with this model and these judges, found out before any work is done."""

from collections.abc import Callable
from typing import Any

from mascing.conversations.chat import check
from mascing.errors import DataError
from mascing.judges.table import cannot_judge
from mascing.models.loading import context_length, load_tokenizer
from mascing.schemas.config import RunConfig
from mascing.schemas.conversation import Conversation


def complaints_of(config: RunConfig) -> Callable[[Conversation], list[str]]:
    """A function that says all that keeps a conversation from being rendered, fitted and judged; empty if nothing does.

    Raises ModelError if the model has no usable tokenizer.
    """
    tokenizer, context = load_tokenizer(config.model), context_length(config.model)
    room = context - config.generation.max_new_tokens if context else None
    return lambda conversation: _complaints(conversation, tokenizer, room, config)


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
