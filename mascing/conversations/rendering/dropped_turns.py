"""Turns that a chat template leaves out without a word, such as a system turn after the first."""

from collections.abc import Sequence
from typing import Any

from mascing.conversations.rendering.template import apply, stand_in, turn, turns_of
from mascing.errors import DataError
from mascing.schemas.conversation import Message

_SHOWN = 40


def refuse_dropped_turns(tokenizer: Any, messages: Sequence[Message]) -> None:
    """Raise DataError, naming them, if earlier turns do not reach the rendering at all.

    Each earlier turn gets a mark of its own at its end. A template may strip a turn, take a thought out of it or move
    it into another one: the mark stays. Only a turn that is left out takes its mark with it.
    """
    word = stand_in((message.content for message in messages), "EARLIERTURN")
    marks = [f"{word}{number}." for number in range(1, len(messages))]  # the point keeps 1 apart from 10
    if not marks:
        return
    earlier = [turn(message.role, message.content + mark) for message, mark in zip(messages[:-1], marks, strict=True)]
    text = apply(tokenizer, [*earlier, *turns_of(messages[-1:])], generation_prompt=True)
    dropped = [number for number, mark in enumerate(marks, start=1) if mark not in text]
    if dropped:
        named = " and ".join(_named(number, messages[number - 1]) for number in dropped)
        raise DataError(
            f"the chat template leaves out {named}, so the model would not see it: move its text into a turn that the "
            "template shows, or remove it"
        )


def _named(number: int, message: Message) -> str:
    text = " ".join(message.content.split())
    return f"turn {number} ({message.role}: {text[:_SHOWN] + '…' if len(text) > _SHOWN else text})"
