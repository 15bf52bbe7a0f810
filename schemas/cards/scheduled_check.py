"""The record of a scheduled run: what it measured of the masks, and what it did."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from mascing.schemas.base import Frozen
from mascing.schemas.result import Gate, Rate

Outcome = Literal["promoted", "held", "rolled back", "nothing to promote"]


class LayerShift(Frozen):
    """The share of a layer's selections that moved to other experts, and its p-value, adjusted for all layers."""

    layer: int
    moved: float
    p: float


class RoutingDrift(Frozen):
    """The routing of the checkpoint as it is now against that which a mask was found on; ``layers`` moved the most."""

    gate: Gate
    reasons: tuple[str, ...]
    conversations: int = 0
    layers: tuple[LayerShift, ...] = ()


class JudgesToday(Frozen):
    """Whether the judges judge as they did; ``cost`` is that of asking them, in US dollars, None if none is paid."""

    gate: Gate
    reasons: tuple[str, ...]
    cost: float | None = None


class MaskStanding(Frozen):
    """How a mask does today.

    ``gate`` decides its gates on the present test conversations, and ``drift`` whether it does worse than when its card
    was written. ``rates`` and ``changes`` since then are by set.
    """

    mask: str
    digest: str
    gate: Gate
    reasons: tuple[str, ...]
    rates: dict[str, Rate] = Field(default_factory=dict)
    changes: dict[str, Rate] = Field(default_factory=dict)
    drift: Gate = "undecided"
    drift_reasons: tuple[str, ...] = ()
    routing: RoutingDrift

    @property
    def regressed(self) -> bool:
        """Whether it certainly does worse than its card says, or does not pass its gates any more."""
        return self.gate == "fail" or self.drift == "fail"


class ScheduledCheck(Frozen):
    """One scheduled run for one model and one behaviour.

    ``inputs`` identify what the run was made of, ``changed`` names those that were others at the check before. ``run``
    is the folder of the run's report. ``judges`` is None in records of earlier versions. ``error`` is why the line made
    no candidate, if it failed.
    """

    at: datetime
    name: str
    model: str
    checkpoint: str
    behaviour: str
    channel: str
    inputs: dict[str, str]
    changed: tuple[str, ...]
    live: MaskStanding | None
    candidate: MaskStanding | None
    judges: JudgesToday | None = None
    outcome: Outcome
    decision: Gate
    reasons: tuple[str, ...]
    run: str | None = None
    error: str | None = None

    @property
    def alarming(self) -> bool:
        """Whether the served mask regressed, and nothing better took its place."""
        return self.live is not None and self.live.regressed and self.outcome not in ("promoted", "rolled back")
