"""The tokens of a text, and which of them stand for a range of its characters."""

from dataclasses import dataclass
from typing import Any

from mascing.errors import DataError


@dataclass(frozen=True)
class Tokens:
    """The token ids of ``text``; ``offsets`` are the characters of each token, None without a fast tokenizer."""

    tokenizer: Any
    text: str
    ids: tuple[int, ...]
    offsets: tuple[tuple[int, int], ...] | None

    def span(self, start: int, end: int) -> tuple[int, int] | None:
        """The span [first, last) of the tokens that overlap the characters [start, end); None if there are none."""
        if self.offsets is None:
            # A token overlaps the range if the text up to its end reaches past `start` and the text before it stops
            # short of `end`.
            first, last = self._needed(start + 1) - 1, self._needed(end)
            return (first, last) if first < last else None
        inside = [i for i, (left, right) in enumerate(self.offsets) if right > start and left < end]
        return (inside[0], inside[-1] + 1) if inside else None

    def _needed(self, n_characters: int) -> int:
        """The least number of leading tokens that decode to at least ``n_characters`` characters."""
        low, high = 0, len(self.ids)
        while low < high:
            middle = (low + high) // 2
            if len(_decode(self.tokenizer, self.ids[:middle])) >= n_characters:
                high = middle
            else:
                low = middle + 1
        return low


def tokenise(tokenizer: Any, text: str) -> Tokens:
    """Tokenise a rendered text without adding special tokens.

    Raises DataError if the tokenizer gives no character offsets and does not decode to the same text.
    """
    if tokenizer.is_fast:
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        return Tokens(tokenizer, text, tuple(encoded["input_ids"]), tuple(encoded["offset_mapping"]))
    ids = tuple(tokenizer(text, add_special_tokens=False)["input_ids"])
    if _decode(tokenizer, ids) != text:
        raise DataError(
            "the tokenizer gives no character offsets and does not decode to the same text, so the final user turn "
            "cannot be found; use a fast tokenizer (tokenizer.json)"
        )
    return Tokens(tokenizer, text, ids, None)


def _decode(tokenizer: Any, ids: tuple[int, ...]) -> str:
    return str(tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))
