"""What the judges share that compare a reply with accepted answers."""

import re

from mascing.errors import DataError
from mascing.judges.plain_text import plain, spaced, visible
from mascing.schemas.conversation import Conversation

_FINAL_MARKS = " \t.!?,;:\u3002\uff0c\uff01\uff1f\u061f\u2026\"'()[]{}\u201c\u201d\u00ab\u00bb\u300c\u300d"
# A star that belongs to a name, as in "A*", and no emphasis.
_STARRED = re.compile(r"[^*_`~<>\[\]]*\w\*")


def literal(text: str) -> str:
    """The visible text in one line and in one case, with its markup."""
    return spaced(visible(text)).casefold()


def core(text: str) -> str:
    """Plain text without the punctuation around it: ``"Blue."`` and ``**blue**`` are both ``blue``.

    A point that begins a name and a star that ends it are kept: ``.net``, ``a*``.
    """
    ended = literal(text).strip(_FINAL_MARKS)
    if _STARRED.fullmatch(ended):
        return ended
    whole = plain(text).rstrip(_FINAL_MARKS)
    stripped = whole.lstrip(_FINAL_MARKS)
    before = whole[: len(whole) - len(stripped)]
    return f".{stripped}" if before.endswith(".") and not before.endswith("..") else stripped


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
