"""Replies before and after a mask, side by side, for a look at what it does. A look proves nothing: a run judges."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, TypeAlias

from pydantic import ValidationError
from torch import nn

from mascing.engines.generation import complete, prompts_of
from mascing.errors import DataError, MaskError
from mascing.masks.mask import Mask
from mascing.models.loading import Loaded
from mascing.schemas.config import GenerationConfig
from mascing.schemas.conversation import Conversation
from mascing.steering.forwards import Tokens
from mascing.steering.steer import steer

if TYPE_CHECKING:
    import polars as pl

Asked: TypeAlias = str | Sequence[Mapping[str, str]] | Conversation
"""A question, the messages of a conversation (``{"role": ..., "content": ...}``), or a Conversation."""


def compare(
    model: nn.Module,
    tokenizer: Any,
    conversations: Sequence[Asked],
    mask: Mask,
    *,
    tokens: Tokens = "all",
    max_new_tokens: int = 128,
    batch_size: int = 16,
) -> "SideBySide":
    """The model's replies to ``conversations`` without and with ``mask``: greedy, in equal batches.

    Raises DataError for a conversation that the chat template cannot render and for a number that is not above 0, and
    the errors of ``steer``.
    """
    if not isinstance(mask, Mask):
        raise MaskError(f"{type(mask).__name__} is no mask: compare takes one mask for all conversations")
    for name, number in (("max_new_tokens", max_new_tokens), ("batch_size", batch_size)):
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise DataError(f"{name} is a whole number above 0, not {number!r}")
    loaded = Loaded(model, tokenizer)
    generation = GenerationConfig(max_new_tokens=max_new_tokens, batch_size=batch_size)
    asked = _conversations(conversations)
    prompts = prompts_of(loaded, asked, generation)
    before = complete(loaded, prompts, None, generation)
    with steer(model, mask, tokens=tokens):
        after = complete(loaded, prompts, None, generation)
    rows = zip(asked, before, after, strict=True)
    return SideBySide(repr(mask), tuple(Pair(row.messages[-1].content, *(x.text for x in said)) for row, *said in rows))


@dataclass(frozen=True)
class Pair:
    """The last turn of one conversation, and the replies to it without and with the mask."""

    question: str
    before: str
    after: str

    @property
    def changed(self) -> bool:
        """Whether the mask made another reply."""
        return self.before != self.after


@dataclass(frozen=True)
class SideBySide:
    """Replies without and with a mask, to iterate over pair by pair; notebooks and terminals show it as a table."""

    mask: str
    pairs: tuple[Pair, ...]

    @property
    def changed(self) -> int:
        """Number of replies that the mask changed."""
        return sum(pair.changed for pair in self.pairs)

    def to_polars(self) -> "pl.DataFrame":
        """One row for each conversation: ``question``, ``before``, ``after``, ``changed``."""
        import polars as pl

        rows = [(pair.question, pair.before, pair.after, pair.changed) for pair in self.pairs]
        columns = {"question": pl.String, "before": pl.String, "after": pl.String, "changed": pl.Boolean}
        return pl.DataFrame(rows, schema=columns, orient="row")

    def __len__(self) -> int:
        return len(self.pairs)

    def __iter__(self) -> Iterator[Pair]:
        return iter(self.pairs)

    def __repr__(self) -> str:
        return "\n".join([self._headline(), *(line for pair in self.pairs for line in _lines(pair))])

    def _repr_html_(self) -> str:
        """What notebooks show."""
        cell = "text-align:left;vertical-align:top;padding:4px 8px;white-space:pre-wrap;overflow-wrap:anywhere"
        head = "".join(f'<th scope="col" style="{cell}">{name}</th>' for name in ("", "question", "before", "after"))
        rows = "".join(
            f'<tr><td style="{cell}">{"≠" if pair.changed else "="}</td>'
            + "".join(f'<td style="{cell}">{escape(text)}</td>' for text in (pair.question, pair.before, pair.after))
            + "</tr>"
            for pair in self.pairs
        )
        return (
            f'<table style="table-layout:auto"><caption style="text-align:left">{escape(self._headline())}</caption>'
            f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        )

    def _headline(self) -> str:
        return f"{self.changed} of {len(self)} replies changed by {self.mask}"


def _lines(pair: Pair) -> Iterator[str]:
    yield f"{'≠' if pair.changed else '='} {textwrap.shorten(pair.question, 96, placeholder=' …')}"
    for name, text in (("before", pair.before), ("after", pair.after)):
        yield f"    {name:<7} {textwrap.shorten(text, 400, placeholder=' …') or '(empty)'}"


def _conversations(asked: Sequence[Asked]) -> list[Conversation]:
    if isinstance(asked, str) or not isinstance(asked, Sequence):
        raise DataError(f"give a list of conversations, not {type(asked).__name__}")
    return [_conversation(number, one) for number, one in enumerate(asked)]


def _conversation(number: int, asked: Asked) -> Conversation:
    if isinstance(asked, Conversation):
        return asked
    messages = [{"role": "user", "content": asked}] if isinstance(asked, str) else asked
    try:
        return Conversation.model_validate({"id": str(number), "group_id": str(number), "messages": messages})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DataError(
            f"conversation {number} is neither a question nor a list of messages ({where or 'the whole'}: "
            f'{first["msg"]}): write "..." or [{{"role": "user", "content": "..."}}]'
        ) from error
