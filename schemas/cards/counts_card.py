"""The card beside a mask that was made from given counts."""

from typing import Literal

from pydantic import JsonValue

from mascing.schemas.base import Frozen


class CountsSource(Frozen):
    """The counts of one side of the contrast: their file, the sha256 of its content, and the tokens of a layer.

    ``tokens`` is a list, MoE layers in depth order, where layers routed different numbers of tokens.
    """

    side: Literal["with", "without"]
    file: str
    sha256: str
    tokens: int | tuple[int, ...]


class CountsCard(Frozen):
    """The origin of a mask from counts. What the mask does was not measured, so ``judged`` is False."""

    model: str
    behaviour: str
    method: str
    selected: dict[str, JsonValue]
    counts: tuple[CountsSource, ...]
    judged: Literal[False] = False
    mask_digest: str
