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
    if len({mask.rule for mask in masks}) > 1:
        rules = ", ".join(mask.rule for mask in masks)
        raise MaskError(
            f"masks of different rules cannot be composed ({rules}): an override sets an expert's logit to the edge of "
            "all others whatever is added to it, so a sum would lose the biases without a word"
        )
    asked_MLE = torch.stack([_direction(mask) for mask in masks])
    parts = [{"digest": mask.digest, **mask.provenance} for mask in masks]
    provenance: dict[str, Any] = {"method": NAME, "parts": parts}
    mask = _summed(masks, provenance) if masks[0].rule == "bias" else _united(masks, asked_MLE, provenance)
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


def _direction(mask: Mask) -> Tensor:
    """What a mask does to each expert: its bias, or +1 and -1: float32 [L, E]."""
    if mask.bias is not None:
        return mask.bias
    assert mask.activated is not None
    assert mask.deactivated is not None
    return mask.activated.float() - mask.deactivated.float()


def _summed(masks: Sequence[Mask], provenance: dict[str, Any]) -> Mask:
    biases = [mask.bias for mask in masks if mask.bias is not None]
    return Mask.from_bias(torch.stack(biases).sum(0), masks[0].spec, provenance)


def _united(masks: Sequence[Mask], asked_MLE: Tensor, provenance: dict[str, Any]) -> Mask:
    priority_MLE = torch.stack([mask.priority for mask in masks if mask.priority is not None])
    on_LE, off_LE = (asked_MLE > 0).any(0), (asked_MLE < 0).any(0)
    # The priority of an expert is the strongest that a mask which moves it has.
    highest_LE = torch.where(asked_MLE > 0, priority_MLE, -torch.inf).amax(0)
    lowest_LE = torch.where(asked_MLE < 0, priority_MLE, torch.inf).amin(0)
    priority_LE = torch.where(on_LE, highest_LE, torch.where(off_LE, lowest_LE, priority_MLE.mean(0)))
    epsilon = max(mask.epsilon for mask in masks)
    return Mask.from_override(on_LE & ~off_LE, off_LE & ~on_LE, priority_LE, masks[0].spec, epsilon, provenance)


def _conflicts(asked_MLE: Tensor, mask: Mask) -> list[Conflict]:
    left_LE = _direction(mask)
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
