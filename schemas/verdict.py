"""A judge's typed answer about one reply."""

from typing import Literal

from pydantic import Field

from mascing.schemas.base import Frozen

Outcome = Literal["hit", "miss", "unscored"]


class Verdict(Frozen):
    """``hit``: the reply shows what the set measures; ``unscored`` counts neither as hit nor as miss.

    ``final`` is false if more text of the same reply could change the outcome. Such a verdict on a reply that was cut
    off becomes ``unscored``. ``failed`` is true if the judge raised an exception or ended its process: the
    next run asks it again.
    """

    outcome: Outcome
    reason: str
    final: bool = True
    failed: bool = False
    raw: str | None = None
    cost: float | None = Field(default=None, ge=0)
    seconds: float | None = Field(default=None, ge=0)
