"""The card beside a published mask: its origin and its measured effect."""

from datetime import datetime

from pydantic import Field, JsonValue, model_validator

from mascing.schemas.base import Frozen
from mascing.schemas.cards.routing_rates import RoutingRates
from mascing.schemas.result import Baseline, MethodResult, Rate


class MaskCard(Frozen):
    """Provenance and evidence of one published mask.

    ``data`` holds the prefixes of the inputs by stage, and under `checkpoint` the fingerprint of weights and tokenizer.
    ``labels`` is the agreement of the labels with the unsteered model. ``robustness`` is the paired change of each set
    under each changed condition, keyed by condition, then set. ``chat_template`` holds the options of the chat template
    under which the mask was found: whoever serves the mask sets the same. ``routing`` is what the unsteered model
    selects on some conversations, so that a later model can be held against it.
    """

    model: str
    model_fingerprint: str
    chat_template: dict[str, JsonValue] = Field(default_factory=dict)
    behaviour: str
    method: str
    selected: dict[str, JsonValue]
    data: dict[str, str]
    baseline: Baseline
    result: MethodResult
    labels: Rate | None
    robustness: dict[str, dict[str, Rate]]
    gates: dict[str, JsonValue]
    mask_digest: str
    routing: RoutingRates | None = None


class UnprovenCard(MaskCard):
    """The card of a mask that its run did not publish; ``unproven`` says what it did not pass."""

    unproven: str


class Move(Frozen):
    """How a channel came to hold a mask: when (UTC), by whom, and why."""

    mask: str
    at: datetime
    by: str
    why: str


class Channel(Frozen):
    """The mask that a channel points at, and the masks that it pointed at before (newest last).

    ``checkpoint`` is the model's name with the start of ``fingerprint``, which identifies weights and tokenizer.
    ``moves`` tells of the masks of ``history`` and of ``mask`` how they came here, newest last; those that an earlier
    version moved are missing at its start. ``withdrawn`` are masks that the channel was rolled back from: a schedule
    does not promote them again.
    """

    model: str
    checkpoint: str
    fingerprint: str
    behaviour: str
    channel: str
    mask: str
    history: tuple[str, ...] = ()
    moves: tuple[Move, ...] = ()
    withdrawn: tuple[str, ...] = ()

    @property
    def address(self) -> str:
        """``checkpoint/behaviour@channel``, by which commands take the mask."""
        return f"{self.checkpoint}/{self.behaviour}@{self.channel}"

    @property
    def earlier(self) -> list[str]:
        """The masks that it held before and that were not withdrawn, in order: a rollback goes to the last."""
        return [mask for mask in self.history if mask not in (self.mask, *self.withdrawn)]

    @property
    def earlier_withdrawn(self) -> list[str]:
        """The masks to which a rollback goes only by name."""
        return [mask for mask in dict.fromkeys(self.history) if mask != self.mask and mask in self.withdrawn]

    @property
    def told(self) -> tuple[tuple[str, Move | None], ...]:
        """Every mask that it held, the present one last, each with how it came here; None where nobody wrote it."""
        unknown = (None,) * (len(self._held) - len(self.moves))
        return tuple(zip(self._held, (*unknown, *self.moves), strict=True))

    @property
    def _held(self) -> tuple[str, ...]:
        return (*self.history, self.mask)

    @model_validator(mode="after")
    def _moves_lead_to_its_masks(self) -> "Channel":
        if self.moves and self._held[-len(self.moves) :] != tuple(move.mask for move in self.moves):
            raise ValueError("its moves are not those that led to the masks of its history and to the present one")
        return self
