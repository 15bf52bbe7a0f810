"""What a request asks for: a mask of those that the server holds, and the tokens on which it acts.

A request says so by the arguments ``mascing_mask`` and ``mascing_tokens``, in ``SamplingParams.extra_args`` or, over
HTTP, in ``vllm_xargs``. With ``mascing_selected`` it asks which experts its tokens really selected.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from mascing.errors import MaskError

MASK, TOKENS, SELECTED = "mascing_mask", "mascing_tokens", "mascing_selected"
NAMES = MASK, TOKENS, SELECTED

MEMBER = "mascing"
"""The member of a reply that says what was in force."""

NO_MASK = "none"
"""The mask by which a request asks for the model as it is, whatever the default is."""

_PARTS = ("all", "prompt", "reply")
_FROM = re.compile(r"from:(0|[1-9][0-9]{0,8})")


@dataclass(frozen=True)
class Span:
    """The tokens of one conversation on which a mask acts: positions from ``start`` up to ``stop``, or to the end."""

    start: int
    stop: int | None

    def within(self, start: int, stop: int) -> tuple[int, int]:
        """The part of the positions from ``start`` up to ``stop`` on which the mask acts, empty if it ends first."""
        begin = max(start, self.start)
        return begin, max(begin, stop if self.stop is None else min(stop, self.stop))

    def count(self, start: int, stop: int) -> int:
        """How many of these positions the mask acts on."""
        begin, end = self.within(start, stop)
        return end - begin


@dataclass(frozen=True)
class Choice:
    """The mask that a request asks for, by name or digest, or None for the default; and the tokens it acts on.

    ``tokens`` is ``all``, ``prompt``, ``reply`` or ``from:N``, N the position from which on the mask acts; the first
    token of the prompt has position 0. The last token of the prompt predicts the first of the reply, so ``reply``
    leaves that one as it is, as :func:`mascing.steer` does. ``selected`` asks for the selections to be counted. Raises
    MaskError for any other ``tokens``.
    """

    mask: str | None = None
    tokens: str = "all"
    selected: bool = False

    def __post_init__(self) -> None:
        known = isinstance(self.tokens, str) and (self.tokens in _PARTS or _FROM.fullmatch(self.tokens))
        if not known:
            raise MaskError(f"{TOKENS} is 'all', 'prompt', 'reply' or 'from:N', not {self.tokens!r}")

    @classmethod
    def of(cls, arguments: Mapping[str, Any] | None) -> "Choice":
        """The choice in a request's arguments; raises MaskError for one that is malformed, or that reads like ours."""
        ours = {name: value for name, value in (arguments or {}).items() if _reads_like_ours(name)}
        unknown = sorted(ours.keys() - set(NAMES))
        if unknown:
            raise MaskError(f"a request has no argument {unknown[0]!r}: it may have {MASK}, {TOKENS} and {SELECTED}")
        mask, selected = ours.get(MASK), ours.get(SELECTED, 0)
        if MASK in ours and not (isinstance(mask, str) and mask):
            raise MaskError(f"{MASK} is the name or digest of a mask, or {NO_MASK!r}; not {mask!r}")
        if selected not in (0, 1):  # vLLM takes no true or false there
            raise MaskError(f"{SELECTED} is 1 to have the selected experts counted, or 0; not {selected!r}")
        return cls(mask, ours.get(TOKENS, "all"), bool(selected))

    def span(self, prompt_tokens: int) -> Span:
        """The positions on which the mask acts, of a conversation whose prompt has so many tokens."""
        match self.tokens:
            case "all":
                return Span(0, None)
            case "prompt":
                return Span(0, prompt_tokens)
            case "reply":
                return Span(prompt_tokens, None)
            case positions:
                return Span(int(positions.removeprefix("from:")), None)


def _reads_like_ours(name: str) -> bool:
    """Whether this is an argument of ours, or one that somebody may have meant so."""
    spelt = name.casefold().replace("-", "_")
    return spelt.startswith("mascing") or bool(get_close_matches(spelt, (*NAMES, "mask", "tokens"), cutoff=0.85))
