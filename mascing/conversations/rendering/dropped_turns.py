"""Turns that a chat template leaves out without a word, such as a system turn after the first."""

from collections.abc import Mapping, Sequence
from typing import Any

from mascing.conversations.rendering.template import apply, stand_in, turn
from mascing.errors import DataError
from mascing.schemas.conversation import Message

_SHOWN = 40


def refuse_dropped_turns(tokenizer: Any, messages: Sequence[Message]) -> None:
    """Raise DataError, naming them, if earlier turns do not reach the rendering at all.

    Each earlier turn gets a mark of its own at its end. A template may strip a turn, take a thought out of it or move
    it into another one: the mark stays. A turn without its mark is rendered again with nothing but the mark in it, as
    a template may show a part of a turn. If that does not show either, the turn is left out.
    """
    word = stand_in((message.content for message in messages), "EARLIERTURN")
    # The point keeps turn 1 apart from turn 10.
    marks = {number: f"{word}{number}." for number in range(1, len(messages))}
    dropped = _without_mark(
        tokenizer, messages, {n: messages[n - 1].content + mark for n, mark in marks.items()}, marks
    )
    if dropped:
        dropped = _without_mark(tokenizer, messages, {number: marks[number] for number in dropped}, marks)
    if dropped:
        named = " and ".join(_named(number, messages[number - 1]) for number in dropped)
        raise DataError(
            f"the chat template leaves out {named}, so the model would not see it: move its text into a turn that the "
            "template shows, or remove it"
        )


def _without_mark(
    tokenizer: Any, messages: Sequence[Message], contents: Mapping[int, str], marks: Mapping[int, str]
) -> list[int]:
    """The turns, counted from 1, whose mark does not show when they hold ``contents``."""
    if not contents:
        return []
    turns = [
        turn(message.role, contents.get(number, message.content)) for number, message in enumerate(messages, start=1)
    ]
    text = apply(tokenizer, turns, generation_prompt=True)
    return [number for number in contents if marks[number] not in text]


def _named(number: int, message: Message) -> str:
    text = " ".join(message.content.split())
    return f"turn {number} ({message.role}: {text[:_SHOWN] + '…' if len(text) > _SHOWN else text})"
