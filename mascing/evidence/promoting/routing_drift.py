"""Whether the routing that a mask was found on is still that of the model."""

import numpy as np

from mascing.evidence.gates import WORDS
from mascing.schemas.cards.scheduled_check import LayerShift, RoutingDrift
from mascing.schemas.result import Gate
from mascing.statistics.routing_shift import RoutingShift

_ALPHA = 0.01
_TOLD = 5


def routing_drift(
    shift: RoutingShift, layers: tuple[int, ...], min_shift: float, conversations: int, rendered: int
) -> RoutingDrift:
    """Decide on a shift of the routing on the same conversations; ``layers`` are the depths of the MoE layers.

    A layer drifts if at least ``min_shift`` of its selections moved to other experts and chance does not explain it: a
    tiny change is no drift, however many tokens show it. ``rendered`` conversations have other tokens than then.
    """
    drifted_L = (shift.moved_L >= min_shift) & (shift.p_L < _ALPHA)
    gate: Gate = "fail" if drifted_L.any() else "pass"
    most_L = np.argsort(-shift.moved_L, kind="stable")[:_TOLD]
    others = f"; {rendered} of them have other tokens than then" if rendered else ""
    top = int(most_L[0])
    reason = (
        f"routing {WORDS[gate]}: {drifted_L.sum()} of {len(drifted_L)} layers drifted; most in layer {layers[top]}, "
        f"where {100 * shift.moved_L[top]:.2f}% of the selections moved to other experts (p = {shift.p_L[top]:.3f} for "
        f"all layers, {conversations} conversations); {100 * min_shift:.1f}% and p below {_ALPHA:g} count{others}"
    )
    shifts = tuple(_of_layer(shift, layers, int(place)) for place in most_L)
    return RoutingDrift(gate=gate, reasons=(reason,), conversations=conversations, layers=shifts)


def _of_layer(shift: RoutingShift, layers: tuple[int, ...], place: int) -> LayerShift:
    return LayerShift(layer=layers[place], moved=float(shift.moved_L[place]), p=float(shift.p_L[place]))


def undecided_drift(why: str, gate: Gate = "undecided") -> RoutingDrift:
    """No comparison, and why."""
    return RoutingDrift(gate=gate, reasons=(f"routing {WORDS[gate]}: {why}",))
