"""The card beside a published mask: where it comes from and what it was measured to do."""

from pydantic import JsonValue

from mascing.schemas.base import Frozen
from mascing.schemas.result import Baseline, MethodResult, Rate


class MaskCard(Frozen):
    """Provenance and evidence of one published mask.

    ``labels`` is the agreement of the labels with the unsteered model, ``robustness`` the paired change of each set
    under each changed condition (condition, then set).
    """

    model: str
    model_fingerprint: str
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
    """What a channel points at now, and what it pointed at before (newest last)."""

    model: str
    behaviour: str
    channel: str
    mask: str
    history: tuple[str, ...] = ()
