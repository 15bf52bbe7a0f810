"""What the layer numbers of a file count: all layers of the model, or those with routers alone.

The two differ where a model has dense layers. A file that does not say which it means is read by evidence, or refused.
"""

from collections.abc import Mapping, Set
from typing import Literal

from mascing.errors import MaskError
from mascing.routers.spec import RouterSpec

Numbering = Literal["depth", "index", "unsaid"]
"""``depth`` counts all layers from 0, ``index`` the MoE layers alone."""

_MEANING = {"depth": "depth in the model", "index": "number among the MoE layers"}


def depths(numbers: Set[int], spec: RouterSpec, said: Numbering, asked: Numbering) -> tuple[Mapping[int, int], str]:
    """For each number of a file the MoE layer, 0 to L - 1, and in words how that was decided.

    ``said`` is what the file or its format says, ``asked`` what the user says. Raises MaskError if the two differ, if
    the model has no such layer, or if both readings are possible and neither says which.
    """
    if said != "unsaid" and asked not in ("unsaid", said):
        raise MaskError(f"layers in this file are {_MEANING[said]}: leave --layers out")
    readings = {
        "depth": {depth: layer for layer, depth in enumerate(spec.layer_ids)},
        "index": {layer: layer for layer in range(spec.n_layers)},
    }
    known = said if said != "unsaid" else asked
    possible = [name for name, layers in readings.items() if numbers <= layers.keys() and known in (name, "unsaid")]
    if not possible:
        raise MaskError(f"the model has no layer {_stranger(numbers, readings, known)}: {_shape(spec)}")
    if known != "unsaid":
        by = "the format" if said != "unsaid" else "--layers"
        return readings[known], f"{_MEANING[known]}, as {by} says"
    if readings["depth"] == readings["index"]:
        return readings["depth"], "depth in the model, which has a router in every layer"
    if len(possible) == 2:
        raise MaskError(
            f"layer {min(numbers)} can be the depth in the model or the number among its MoE layers: {_shape(spec)}, "
            "and the file does not say which it counts. Ask who made it, and say --layers depth or --layers index"
        )
    (only,) = possible
    (other,) = readings.keys() - {only}
    stranger = min(numbers - readings[other].keys())
    return readings[only], f"{_MEANING[only]}, because there is no layer {stranger} by the other count"


def _stranger(numbers: Set[int], readings: Mapping[str, Mapping[int, int]], known: Numbering) -> int:
    of = readings["depth" if known == "unsaid" else known]
    return min(numbers - of.keys())


def _shape(spec: RouterSpec) -> str:
    return f"its {spec.n_layers} MoE layers are at depth {', '.join(map(str, spec.layer_ids))}"
