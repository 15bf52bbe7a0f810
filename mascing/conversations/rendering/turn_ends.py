"""Where a model ends its turn, as its chat template writes it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mascing.conversations.rendering.template import Turn, apply, thoughtful_turn, turn
from mascing.errors import DataError

_USER, _THOUGHT, _ASSISTANT = "STANDINUSER", "STANDINTHOUGHT", "STANDINASSISTANT"
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
    turn may be the end. A mark is an added token, or else text in brackets; mere words end nothing. A mark that also
    ends a thought ends no turn: the reply is still to come.
    """
    user = turn("user", _USER)
    chat = [user, turn("assistant", _ASSISTANT)]
    tail = _after(_ASSISTANT, tokenizer, chat) or _after(_ASSISTANT, tokenizer, [*chat, user]).partition(_USER)[0]
    added = {str(token): number for number, token in tokenizer.added_tokens_decoder.items()}
    token = max((token for token in added if token and tail.startswith(token)), key=len, default=None)
    tag = _TAG.match(tail)
    mark = token or (tag.group() if tag else None)
    thoughtful = [user, thoughtful_turn(_THOUGHT, _ASSISTANT)]
    if mark is None or _after(_THOUGHT, tokenizer, thoughtful).startswith(mark):
        return TurnEnds()
    return TurnEnds(marks=(mark,)) if token is None else TurnEnds(ids=frozenset({added[token]}))


def _after(stand_in: str, tokenizer: Any, chat: Sequence[Turn]) -> str:
    """What follows the stand-in, without leading blanks; empty if the template refuses the turns or hides it."""
    try:
        text = apply(tokenizer, chat, generation_prompt=False)
    except DataError:
        return ""
    return text.partition(stand_in)[2].lstrip()
