"""Where a model ends its turn, as its chat template writes it."""

import re
from dataclasses import dataclass
from typing import Any

from mascing.conversations.rendering.template import apply, turn
from mascing.errors import DataError

_USER, _ASSISTANT = "STANDINUSER", "STANDINASSISTANT"
_TAG = re.compile(r"<[^<>\s]+>|\[[^\[\]\s]+\]")


@dataclass(frozen=True)
class TurnEnds:
    """The ids of tokens that end an assistant's turn, and end marks that are no single token of the tokenizer."""

    ids: frozenset[int] = frozenset()
    marks: tuple[str, ...] = ()


def turn_ends(tokenizer: Any) -> TurnEnds:
    """The mark that the chat template puts right after an assistant's text.

    A fine-tuned model ends its turns there, even if its files name only the end of text of its base model. A template
    that does not close the last turn of a conversation is asked what follows an earlier one: there, what opens the next
    turn may be the end. A mark is an added token, or else text in brackets; mere words end nothing.
    """
    chat = [turn("user", _USER), turn("assistant", _ASSISTANT)]
    tail = _after_reply(tokenizer, chat) or _after_reply(tokenizer, [*chat, turn("user", _USER)]).partition(_USER)[0]
    added = {str(token): number for number, token in tokenizer.added_tokens_decoder.items()}
    token = max((token for token in added if token and tail.startswith(token)), key=len, default=None)
    if token is not None:
        return TurnEnds(ids=frozenset({added[token]}))
    tag = _TAG.match(tail)
    return TurnEnds(marks=(tag.group(),)) if tag else TurnEnds()


def _after_reply(tokenizer: Any, chat: list[Any]) -> str:
    """What follows the assistant's text, without leading blanks; empty if the template refuses the turns."""
    try:
        text = apply(tokenizer, chat, generation_prompt=False)
    except DataError:
        return ""
    return text.partition(_ASSISTANT)[2].lstrip()
