"""Masks of several behaviours in one, and where they contradict each other.

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
    """An expert about which the masks disagree, or for which a layer has no room.

    ``layer`` is the layer's depth in the model. ``asked`` is what each mask does to the expert (a bias, or +1 for
    activated and -1 for deactivated, 0 for nothing), ``left`` what the composed mask does. ``crowded`` if all masks
    agree and the layer cannot force that many experts.
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
    """All of ``masks`` in one: the sum of their biases, or all that they activate and deactivate.

    Override masks: an expert that one mask activates and another deactivates is left alone, as equal biases of
    opposite sign would leave it; a layer with more activated experts than top-k, or too many deactivated ones, keeps
    those of the strongest priority. The largest epsilon holds. Raises MaskError for fewer than two masks, masks of
    different models, or of different rules.
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
    asked_MLE = torch.stack([mask.rule.signed_LE for mask in masks])
    shared_LE = (asked_MLE != 0).sum(0) > 1
    return Composition(mask, int(shared_LE.sum()), tuple(_conflicts(asked_MLE, mask)))


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
    # The priority of an expert is the strongest that a mask which moves it has.
    highest_LE = torch.where(on_MLE, priority_MLE, -torch.inf).amax(0)
    lowest_LE = torch.where(off_MLE, priority_MLE, torch.inf).amin(0)
    priority_LE = torch.where(on_LE, highest_LE, torch.where(off_LE, lowest_LE, priority_MLE.mean(0)))
    epsilon = max(rule.epsilon for rule in rules)
    return Mask.from_override(on_LE & ~off_LE, off_LE & ~on_LE, priority_LE, spec, epsilon, provenance)


def _conflicts(asked_MLE: Tensor, mask: Mask) -> list[Conflict]:
    left_LE = mask.rule.signed_LE
    opposed_LE = (asked_MLE > 0).any(0) & (asked_MLE < 0).any(0)
    crowded_LE = (asked_MLE != 0).any(0) & (left_LE == 0) & ~opposed_LE
    return [
        Conflict(
            layer=mask.spec.layer_ids[layer],
            expert=expert,
            asked=tuple(asked_MLE[:, layer, expert].tolist()),
            left=float(left_LE[layer, expert]),
            crowded=bool(crowded_LE[layer, expert]),
        )
        for layer, expert in (opposed_LE | crowded_LE).nonzero().tolist()
    ]
