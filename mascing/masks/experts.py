"""A mask as the experts that it moves, by the depth of their layer: made from them, and listed again.

Shape suffixes: L MoE layer, E expert.
"""

from collections.abc import Iterator, Mapping
from math import isfinite
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mascing.errors import MaskError
from mascing.masks.rules import BiasRule, OverrideRule, Rule
from mascing.routers.spec import RouterSpec

if TYPE_CHECKING:
    import polars as pl

    from mascing.masks.mask import Mask


_LARGEST = torch.finfo(torch.float32).max
_SMALLEST = 2.0**-149
"""The smallest size above 0 that float32 holds."""


def bias_of(experts: Mapping[int, Mapping[int, float]], spec: RouterSpec) -> Tensor:
    """The bias [L, E] of ``{layer: {expert: bias}}``, 0 elsewhere; raises MaskError for what the model does not have.

    ``layer`` is the depth in the model, dense layers counted.
    """
    bias_LE = torch.zeros(spec.n_layers, spec.n_experts)
    for layer, of_layer in _mapping(experts, "experts").items():
        if not _is_whole(layer) or layer not in spec.layer_ids:
            depths = ", ".join(map(str, spec.layer_ids))
            raise MaskError(f"layer {layer!r} has no router: the MoE layers of this {spec.family} are {depths}")
        for expert, bias in _mapping(of_layer, f"layer {layer}").items():
            if not _is_whole(expert) or int(expert) not in range(spec.n_experts):
                raise MaskError(f"layer {layer} has no expert {expert!r}: they are 0 to {spec.n_experts - 1}")
            number = finite_number(bias, f"layer {layer}, expert {expert}: a bias")
            # Adding 0 turns -0 into 0, so that equal masks have equal digests.
            bias_LE[spec.layer_ids.index(int(layer)), int(expert)] = number + 0.0
    return bias_LE


def to_polars(mask: "Mask") -> "pl.DataFrame":
    """One row for each expert that the mask moves; columns as in :meth:`Mask.to_polars`."""
    import polars as pl

    columns: dict[str, Any] = {"layer": pl.Int32, "expert": pl.Int32}
    match mask.rule:
        case BiasRule():
            columns |= {"bias": pl.Float32}
        case OverrideRule():
            columns |= {"forced": pl.String, "priority": pl.Float32}
    return pl.DataFrame(list(_rows(mask.rule, mask.spec)), schema=columns, orient="row")


def _rows(rule: Rule, spec: RouterSpec) -> Iterator[tuple[Any, ...]]:
    for layer, expert in rule.entries_LE.nonzero().tolist():
        place = spec.layer_ids[layer], expert
        match rule:
            case BiasRule(bias_LE):
                yield *place, float(bias_LE[layer, expert])
            case OverrideRule():
                forced = "on" if rule.activated_LE[layer, expert] else "off"
                yield *place, forced, float(rule.priority_LE[layer, expert])


def finite_number(value: Any, what: str) -> float:
    """The value as a float; raises MaskError for anything but a finite number that float32, a mask's type, can hold.

    A number so small that float32 makes it 0 is none: the mask would lose it without a word.
    """
    # Only a float is asked whether it is finite: a whole number may be too large to be made one.
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or (isinstance(value, float) and not isfinite(value)):
        raise MaskError(f"{what} is a finite number, not {value!r}")
    if not -_LARGEST <= value <= _LARGEST:
        raise MaskError(
            f"{what} is a finite number of at most {_LARGEST:.1e} in size, which float32 holds: it is larger"
        )
    if 0 < abs(value) < _SMALLEST:
        raise MaskError(f"{what} is {value:g}, which float32 holds as 0: give 0, or at least {_SMALLEST:.1e} in size")
    return float(value)


def _is_whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _mapping(value: object, what: str) -> Mapping[Any, Any]:
    if not isinstance(value, Mapping):
        raise MaskError(f"{what}: give {{layer: {{expert: bias}}}}, not {type(value).__name__}")
    return value
