"""What keeps a conversation from being used with this model and these judges, found out before any work is done."""

from collections.abc import Callable
from typing import Any

from mascing.conversations.chat import check
from mascing.conversations.intake.rows import Quarantined, Used
from mascing.errors import DataError
from mascing.judges.table import cannot_judge
from mascing.schemas.config import RunConfig
from mascing.schemas.conversation import Conversation

Complaints = Callable[[Conversation], list[str]]
"""Says all that keeps a conversation from being rendered, fitted and judged; empty if nothing does."""


def complaints_of(config: RunConfig, tokenizer: Any, context: int | None) -> Complaints:
    """The complaints of a run; ``context`` is the number of tokens that the model can read.

    Without a tokenizer it asks the judges alone.
    """
    room = context - config.generation.max_new_tokens if context else None
    return lambda conversation: _complaints(conversation, tokenizer, room, config)


def refused(row: Used, complaints: Complaints) -> Quarantined | None:
    """The quarantine's record of a row whose conversation has complaints; None if it has none."""
    if not (found := complaints(row.conversation)):
        return None
    return Quarantined(row.row, row.conversation.id, "; ".join(found), row.conversation.messages[-1].content[:200])


def _complaints(conversation: Conversation, tokenizer: Any, room: int | None, config: RunConfig) -> list[str]:
    complaints = []
    try:
        if tokenizer is not None:
            check(tokenizer, conversation, room)
    except DataError as error:
        # The quarantine names the conversation in a column of its own; without the name, equal reasons are counted.
        complaints.append(str(error).removeprefix(f"conversation {conversation.id!r}: "))
    judge = config.behaviour.judge_of(conversation.set)
    if (lacking := cannot_judge(judge, conversation)) is not None:
        judged = conversation.set if conversation.set in config.behaviour.judges else conversation.set.partition("/")[0]
        complaints.append(f"the judge of {judged} ({judge.kind}) cannot judge it: it {lacking}")
    return complaints
