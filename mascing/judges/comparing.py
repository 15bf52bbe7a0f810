"""What the judges share that compare a reply with accepted answers."""

import re

from mascing.errors import DataError
from mascing.judges.plain_text import plain
from mascing.schemas.conversation import Conversation

_FINAL_MARKS = " \t.!?,;:\u3002\uff0c\uff01\uff1f\u061f\u2026\"'()[]{}\u201c\u201d\u00ab\u00bb\u300c\u300d"


def core(text: str) -> str:
    """Plain text without the punctuation around it: ``"Blue."`` and ``**blue**`` are both ``blue``."""
    return re.sub(r"\s+", " ", plain(text)).strip(_FINAL_MARKS)


def no_answer(conversation: Conversation) -> str | None:
    """Why a comparing judge cannot judge the conversation, or None if it has an answer to compare with."""
    if any(core(answer) for answer in conversation.accepted):
        return None
    return "has no answer to compare with: add `references` or `wanted`"


def accepted_answers(kind: str, conversation: Conversation) -> tuple[str, ...]:
    """The accepted answers with words in them. Raises DataError if there is none."""
    problem = no_answer(conversation)
    if problem is not None:
        raise DataError(
            f"conversation {conversation.id!r} ({conversation.set}) {problem}, or judge this kind of set otherwise "
            f"than by {kind}"
        )
    return tuple(answer for answer in conversation.accepted if core(answer))
