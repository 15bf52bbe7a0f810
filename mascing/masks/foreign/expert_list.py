"""What a file asks of experts, before it is known whether a model has them; and the mask that does it.

Shape suffixes: L MoE layer, E expert.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from mascing.errors import MaskError
from mascing.masks.experts import finite_number
from mascing.masks.foreign.layer_numbers import Numbering, depths
from mascing.masks.mask import Mask
from mascing.masks.rules import OverrideRule
from mascing.prose import counted
from mascing.routers.spec import RouterSpec
from mascing.schemas.cards.listed_mask import ListedModel

Place = tuple[int, int]
"""(layer, as the file numbers it, and expert)."""

_NO_FINGERPRINT = (
    "the file does not say which weights it was made for: that it fits the model's shape is all that shows"
)


@dataclass(frozen=True)
class ExpertList:
    """The experts of a file.

    ``values`` are biases in router logits, or for an override 1 (on), -1 (off) and 0 (a priority alone). ``numbering``
    says what the file's layer numbers count, ``unsaid`` if its format leaves that open. ``model`` is what the file says
    of its model. ``strongest_stay`` is true where the format itself drops the weakest of a layer that cannot force all.
    ``facts`` go into the provenance.
    """

    rule: Literal["bias", "override"]
    values: Mapping[Place, float]
    priority: Mapping[Place, float] = field(default_factory=dict)
    epsilon: float = 1e-2
    numbering: Numbering = "unsaid"
    model: ListedModel = field(default_factory=ListedModel)
    strongest_stay: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Placed:
    """The mask on its model, how layers were read, and what the reader should know."""

    mask: Mask
    layers: str
    notes: tuple[str, ...]


def placed(
    given: ExpertList, spec: RouterSpec, *, numbering: Numbering = "unsaid", bias: float | None = None
) -> Placed:
    """The mask of a list on the model that ``spec`` describes.

    ``numbering`` says what the file's layer numbers count where it does not. With ``bias``, forced experts get that
    many logits more (on) or less (off) in place of an override. Raises MaskError if the list was made for another
    model, names layers or experts that the model does not have, asks for more than a layer can do, or moves no expert.
    """
    _refuse_another_model(given.model, spec)
    layer_of, layers = depths({layer for layer, _ in given.values}, spec, given.numbering, numbering)
    values_LE, priority_LE = torch.zeros(2, spec.n_layers, spec.n_experts)
    for (number, expert), value in given.values.items():
        if not 0 <= expert < spec.n_experts:
            raise MaskError(f"layer {number} has no expert {expert}: the model has experts 0 to {spec.n_experts - 1}")
        place = layer_of[number], expert
        what = f"layer {number}, expert {expert}: a {'bias' if given.rule == 'bias' else 'value'}"
        values_LE[place] = finite_number(value, what)
        priority = given.priority.get((number, expert), 0.0)
        priority_LE[place] = finite_number(priority, f"layer {number}, expert {expert}: a priority")
    notes = () if given.model.fingerprint else (_NO_FINGERPRINT,)
    if not values_LE.any():
        raise MaskError("the file moves no expert: give experts a bias other than 0, or force them on or off")
    if given.rule == "bias" or bias is not None:
        return Placed(_biased(given, values_LE, spec, bias), layers, notes)
    mask, left_out = _forced(given, values_LE, priority_LE, spec)
    return Placed(mask, layers, (*notes, *left_out))


def _biased(given: ExpertList, values_LE: Tensor, spec: RouterSpec, bias: float | None) -> Mask:
    if bias is None:
        return Mask.from_bias(values_LE, spec, given.facts)
    if given.rule == "bias":
        raise MaskError("the file holds biases already: leave --bias out, or multiply the mask once it is imported")
    if finite_number(bias, "--bias") <= 0:
        raise MaskError(
            f"--bias is {bias:g}: give logits above 0; experts forced on get as many more, off as many less"
        )
    # Adding 0 turns -0 into 0, so that equal masks have equal digests.
    return Mask.from_bias(values_LE * bias + 0.0, spec, {**given.facts, "bias": bias})


def _forced(
    given: ExpertList, values_LE: Tensor, priority_LE: Tensor, spec: RouterSpec
) -> tuple[Mask, tuple[str, ...]]:
    asked = OverrideRule(values_LE > 0, values_LE < 0, priority_LE, given.epsilon)
    rule = asked.capped(spec.top_k, spec.groups)
    dropped_LE = asked.entries_LE & ~rule.entries_LE
    if not (n_dropped := int(dropped_LE.sum())):
        return Mask(spec, rule, dict(given.facts)), ()
    depth = spec.layer_ids[int(dropped_LE.any(-1).nonzero()[0])]
    if not given.strongest_stay:
        raise MaskError(
            f"layer {depth} cannot force all that the file asks of it: a layer selects {spec.top_k} of "
            f"{spec.n_experts} experts, so no more can be on and as many must be left; take experts out of the file"
        )
    said = (
        f"{n_dropped} of {counted(int(asked.entries_LE.sum()), 'expert')} left out, first in layer {depth}: a layer "
        f"selects {spec.top_k}, and the strongest stay"
    )
    return Mask(spec, rule, {**given.facts, "left_out": n_dropped}), (said,)


def _refuse_another_model(model: ListedModel, spec: RouterSpec) -> None:
    said = model.model_dump(exclude_none=True)
    if "layers" in said:
        said["layers"] = list(said["layers"])
    has = {
        "family": spec.family,
        "layers": list(spec.layer_ids),
        "n_layers": spec.n_layers,
        "n_experts": spec.n_experts,
        "top_k": spec.top_k,
        "fingerprint": spec.fingerprint,
    }
    for name, value in said.items():
        if value != has[name]:
            hint = (
                ": same family and shape, but other router weights; import it on its own model, and "
                "`mascing mask transfer` says what it does on this one"
                if name == "fingerprint"
                else ""
            )
            raise MaskError(f"the file is for another model: its {name} is {value}, the model's {has[name]}{hint}")
