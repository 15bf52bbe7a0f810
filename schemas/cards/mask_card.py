"""The card beside a published mask: its origin and its measured effect."""

from pydantic import Field, JsonValue

from mascing.schemas.base import Frozen
from mascing.schemas.result import Baseline, MethodResult, Rate


class MaskCard(Frozen):
    """Provenance and evidence of one published mask.

    ``labels`` is the agreement of the labels with the unsteered model. ``robustness`` is the paired change of each set
    under each changed condition, keyed by condition, then set. ``chat_template`` holds the options of the chat template
    under which the mask was found: whoever serves the mask sets the same.
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


class Channel(Frozen):
    """The mask that a channel points at, and the masks that it pointed at before (newest last)."""

    model: str
    behaviour: str
    channel: str
    mask: str
    history: tuple[str, ...] = ()
