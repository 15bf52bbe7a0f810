"""One reply that was asked for, and how it is told while it is written."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mascing.conversations.chat import Prompt
from mascing.conversations.reply import Reply
from mascing.conversations.thoughts import ThoughtReader
from mascing.engines.endings import reply_of
from mascing.masks.mask import Mask
from mascing.steering.forwards import Tokens


@dataclass(frozen=True)
class Done:
    """A whole reply, and the tokens of it and of its prompt that the mask acted on, by depth of the MoE layer.

    ``selected`` says how often each expert was selected, if that was asked; empty if the model does not show it.
    """

    reply: Reply
    steered_tokens: dict[int, int]
    selected: dict[int, list[int]] | None


Event = str | Done | Exception
"""What is told of a reply: more text, then that it is done, or why it cannot be."""


@dataclass
class Asked:
    """A reply that is to be written; its mask was bound when it was admitted.

    ``seed`` alone determines what is drawn at a temperature above 0. ``tell`` hears of text while it is written if
    ``streams`` is true, and of the end in any case, from the thread of the model. Whoever asked sets ``given_up``.
    """

    prompt: Prompt
    mask: Mask | None
    tokens: Tokens
    selected: bool
    temperature: float
    seed: str
    max_tokens: int
    stop: tuple[str, ...]
    streams: bool
    tell: Callable[[Event], None]
    given_up: bool = field(default=False, compare=False)


class Writing:
    """A reply while it is written; ``marks`` end it, the stop strings among them."""

    def __init__(self, asked: Asked, reader: ThoughtReader, marks: Sequence[str]) -> None:
        self.asked, self._reader, self._marks = asked, reader, (*marks, *asked.stop)
        self._told = ""
        self._looks = asked.streams or bool(asked.stop)
        self.length: int | None = None
        """The number of its tokens once it ended otherwise than by an end token."""

    def ends_with(self, ids: Sequence[int]) -> bool:
        """Tell the text of these tokens, as far as no more of them can change it; whether the reply ends here."""
        ends = self.asked.given_up or len(ids) >= self.asked.max_tokens
        if self._looks:
            reply = self._read(ids)
            ends = ends or not reply.cut_off
            self._tell(reply.text[: _settled(reply.text, self._marks)])
        if ends:
            self.length = len(ids)
        return ends

    def whole(self, ids: Sequence[int]) -> Reply:
        """The reply of these tokens; tells the rest of its text. Raises RuntimeError if what was told is not in it."""
        reply = reply_of(self._reader, self.asked.prompt, ids, self._marks, self.asked.max_tokens)
        if not reply.text.startswith(self._told):
            raise RuntimeError("what was streamed turned out to be no part of the reply: ask for it without streaming")
        self._tell(reply.text)
        return reply

    def _read(self, ids: Sequence[int]) -> Reply:
        """The reply so far: read as one that these tokens cut off, unless a mark ended it."""
        return reply_of(self._reader, self.asked.prompt, ids, self._marks, len(ids))

    def _tell(self, text: str) -> None:
        if self.asked.streams and text.startswith(self._told) and text != self._told:
            self.asked.tell(text[len(self._told) :])
            self._told = text


def _settled(text: str, marks: Sequence[str]) -> int:
    """The length of the text without what may yet become a mark, or a character of several tokens."""
    whole = len(text.rstrip("�"))
    return min([whole, *(whole - _begun(text[:whole], mark) for mark in marks)])


def _begun(text: str, mark: str) -> int:
    """How many of the last characters of the text begin the mark."""
    return next((n for n in range(min(len(mark) - 1, len(text)), 0, -1) if text.endswith(mark[:n])), 0)
