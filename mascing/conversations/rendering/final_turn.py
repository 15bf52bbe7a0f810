"""Find the final user turn in a rendered conversation."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mascing.conversations.rendering.template import Turn, apply, stand_in, turn, turns_of
from mascing.errors import DataError
from mascing.schemas.conversation import Message


@dataclass(frozen=True)
class FinalTurn:
    """A rendered conversation with its generation prompt, and the characters [start, end) of its final user turn."""

    text: str
    start: int
    end: int
    marked: "Marked"

    @property
    def generation_prompt(self) -> str:
        """What follows the turn: its closing marks and the generation prompt."""
        return self.text[self.end :]


@dataclass(frozen=True)
class Marked:
    """A conversation whose final user turn holds ``mark`` twice: after ``first`` and before ``last``, its outer words.

    These may be empty. All words stay, because a template may act on them (``/no_think``) or take some of them out.
    """

    turns: tuple[Turn, ...]
    mark: str
    first: str
    last: str

    def split(self, text: str) -> tuple[str, str, str] | None:
        """A rendering of these turns as what precedes, what is, and what follows the final user turn's words.

        None if the rendering does not show both marks exactly once.
        """
        parts = text.split(self.mark)
        if len(parts) != 3:
            return None
        left, middle, right = parts
        before, after = left.removesuffix(self.first), right.removeprefix(self.last)
        words = left[len(before) :] + middle + right[: len(right) - len(after)]
        return before, words, after


def find_final_turn(tokenizer: Any, messages: Sequence[Message]) -> FinalTurn:
    """Render the conversation and find its final user turn.

    A search for the turn's words could find them in an earlier turn, the system prompt or the generation prompt. So the
    conversation is rendered again with marks in the turn. The text around the marks is the text around the turn, even
    if the template strips or wraps it. Raises DataError if the template refuses the conversation, or if it does not
    show the turn once and apart from the rest.
    """
    text = apply(tokenizer, turns_of(messages), generation_prompt=True)
    for marked in _marked(messages):
        parts = marked.split(apply(tokenizer, marked.turns, generation_prompt=True))
        if parts is None:
            continue
        before, words, after = parts
        start, end = len(before), len(text) - len(after)
        # The marks may keep blanks that the template strips from the turn's ends.
        if text.startswith(before) and text.endswith(after) and text[start:end].strip() == words.strip() != "":
            return FinalTurn(text, start, end, marked)
    raise DataError(
        "the chat template does not show the final user turn exactly once and apart from the rest, so its tokens "
        "cannot be identified; use another chat template for this model"
    )


def _marked(messages: Sequence[Message]) -> Iterator[Marked]:
    """The conversation with marks around its final turn's words; then for templates that look at their start or end."""
    words, mark = messages[-1].content, stand_in((message.content for message in messages), "FINALUSERTURN")
    earlier = turns_of(messages[:-1])

    def marked(words: str, first: str = "", last: str = "") -> Marked:
        middle = words.removeprefix(first).removesuffix(last)
        return Marked((*earlier, turn("user", f"{first}{mark}{middle}{mark}{last}")), mark, first, last)

    yield marked(words)
    words = words.strip()
    first, last = (_found(pattern, words) for pattern in (r"\S+\s+", r"\s+\S+$"))
    yield marked(words, last=last)
    yield marked(words, first=first)


def _found(pattern: str, text: str) -> str:
    """What the pattern finds first in the text; empty if nothing."""
    found = re.search(pattern, text)
    return found.group() if found else ""
