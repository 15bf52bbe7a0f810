"""Compose the masks of several behaviours into one, and find where they contradict each other.

Shape suffixes: M mask, L MoE layer, E expert.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mascing.errors import MaskError
from mascing.masks.mask import Mask
from mascing.masks.rules import BiasRule, OverrideRule
from mascing.routers.spec import RouterSpec

NAME = "composition"


@dataclass(frozen=True)
class Conflict:
    """An expert that the masks disagree about, or that its layer has no room to force.

    ``layer`` is the layer's depth in the model. ``asked`` holds what each mask does to the expert: its bias, or +1 for
    activated, -1 for deactivated and 0 for neither. ``left`` is what the composed mask does. ``crowded`` means that
    the masks agree, but the layer cannot force that many experts.
    """

    layer: int
    expert: int
    asked: tuple[float, ...]
    left: float
    crowded: bool


@dataclass(frozen=True)
class Composition:
    """The composed mask; ``shared`` is the number of experts that more than one of the masks moves."""

    mask: Mask
    shared: int
    conflicts: tuple[Conflict, ...]


def compose(masks: Sequence[Mask]) -> Composition:
    """Compose ``masks`` into one: the sum of their biases, or the union of their activated and deactivated experts.

    An expert that one override mask activates and another deactivates is left alone, as equal biases of opposite sign
    would leave it. A layer with more activated experts than top-k, or too many deactivated ones, keeps those with the
    strongest priority. The composed mask has the largest epsilon. Raises MaskError for fewer than two masks, or for
    masks of different models or different rules.
    """
    if len(masks) < 2:
        raise MaskError("composing takes at least two masks")
    for number, mask in enumerate(masks[1:], start=2):
        _refuse_another_model(number, mask, masks[0])
    parts = [{"digest": mask.digest, **mask.provenance} for mask in masks]
    provenance: dict[str, Any] = {"method": NAME, "parts": parts}
    biases = [mask.rule for mask in masks if isinstance(mask.rule, BiasRule)]
    overrides = [mask.rule for mask in masks if isinstance(mask.rule, OverrideRule)]
    if biases and overrides:
        rules = ", ".join(mask.rule.name for mask in masks)
        raise MaskError(
            f"masks of different rules cannot be composed ({rules}): an override sets an expert's logit to the edge of "
            "all others whatever is added to it, so a sum would lose the biases without a word"
        )
    spec = masks[0].spec
    mask = _summed(biases, spec, provenance) if biases else _united(overrides, spec, provenance)
    effect_MLE = torch.stack([mask.rule.signed_LE for mask in masks])
    shared_LE = (effect_MLE != 0).sum(0) > 1
    return Composition(mask, int(shared_LE.sum()), tuple(_conflicts(effect_MLE, mask)))


def _refuse_another_model(number: int, mask: Mask, first: Mask) -> None:
    if mask.spec != first.spec:
        raise MaskError(
            f"mask {number} is for another model than mask 1: {_model(mask)}, not {_model(first)}. A mask fits the "
            "router weights that it was made from; make both on one model"
        )


def _model(mask: Mask) -> str:
    spec = mask.spec
    return f"{spec.family} with {spec.n_layers} x {spec.n_experts} experts, fingerprint {spec.fingerprint[:12]}"


def _summed(rules: Sequence[BiasRule], spec: RouterSpec, provenance: dict[str, Any]) -> Mask:
    return Mask.from_bias(torch.stack([rule.bias_LE for rule in rules]).sum(0), spec, provenance)


def _united(rules: Sequence[OverrideRule], spec: RouterSpec, provenance: dict[str, Any]) -> Mask:
    on_MLE = torch.stack([rule.activated_LE for rule in rules])
    off_MLE = torch.stack([rule.deactivated_LE for rule in rules])
    priority_MLE = torch.stack([rule.priority_LE for rule in rules])
    on_LE, off_LE = on_MLE.any(0), off_MLE.any(0)
    # An expert takes the strongest priority among the masks that move it.
    highest_LE = torch.where(on_MLE, priority_MLE, -torch.inf).amax(0)
    lowest_LE = torch.where(off_MLE, priority_MLE, torch.inf).amin(0)
    priority_LE = torch.where(on_LE, highest_LE, torch.where(off_LE, lowest_LE, priority_MLE.mean(0)))
    epsilon = max(rule.epsilon for rule in rules)
    united = OverrideRule(on_LE & ~off_LE, off_LE & ~on_LE, priority_LE, epsilon)
    return Mask(spec, united.capped(spec.top_k, spec.groups), provenance)


def _conflicts(effect_MLE: Tensor, mask: Mask) -> list[Conflict]:
    composed_LE = mask.rule.signed_LE
    opposed_LE = (effect_MLE > 0).any(0) & (effect_MLE < 0).any(0)
    crowded_LE = (effect_MLE != 0).any(0) & (composed_LE == 0) & ~opposed_LE
    return [
        Conflict(
            layer=mask.spec.layer_ids[layer],
            expert=expert,
            asked=tuple(effect_MLE[:, layer, expert].tolist()),
            left=float(composed_LE[layer, expert]),
            crowded=bool(crowded_LE[layer, expert]),
        )
        for layer, expert in (opposed_LE | crowded_LE).nonzero().tolist()
    ]
