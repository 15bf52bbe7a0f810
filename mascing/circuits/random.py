"""The control of every method: a mask with the same entries in random places.

Shape suffixes: L MoE layer, E expert.
"""

import torch
from torch import Tensor

from mascing.circuits.candidates import Candidate
from mascing.mask import Mask

NAME = "random"


def shuffled(candidate: Candidate, seed: int) -> Candidate:
    """The candidate with its entries shuffled over all L x E: same sparsity, same norm, same rule.

    An override mask keeps its numbers of activated and deactivated experts, and no layer activates more than top-k.
    """
    generator = torch.Generator().manual_seed(seed)
    cell = {"of": candidate.method, **candidate.cell, "seed": seed}
    provenance = {"method": NAME, **cell}
    mask = candidate.mask
    if mask.rule == "bias":
        assert mask.bias is not None
        moved = torch.randperm(mask.bias.numel(), generator=generator)
        return Candidate(NAME, cell, Mask.from_bias(_moved(mask.bias, moved), mask.spec, provenance))
    assert mask.activated is not None
    assert mask.deactivated is not None
    assert mask.priority is not None
    moved = _places(mask.activated, mask.deactivated, mask.spec.top_k, generator)
    activated, deactivated, priority = (_moved(x, moved) for x in (mask.activated, mask.deactivated, mask.priority))
    return Candidate(
        NAME, cell, Mask.from_override(activated, deactivated, priority, mask.spec, mask.epsilon, provenance)
    )


def _places(activated_LE: Tensor, deactivated_LE: Tensor, top_k: int, generator: torch.Generator) -> Tensor:
    """New place of every entry: a permutation of L x E that keeps what a layer may activate and deactivate."""
    n_layers, n_experts = activated_LE.shape
    free = torch.randperm(n_layers * n_experts, generator=generator).tolist()
    places = torch.full((n_layers * n_experts,), -1)
    for chosen_LE, at_most in ((activated_LE, top_k), (deactivated_LE, n_experts - top_k)):
        room = [at_most] * n_layers
        for entry in chosen_LE.flatten().nonzero().flatten().tolist():
            place = next(place for place in free if room[place // n_experts] > 0)
            room[place // n_experts] -= 1
            free.remove(place)
            places[entry] = place
    places[places < 0] = torch.tensor(free, dtype=torch.long)
    return places


def _moved(tensor_LE: Tensor, places: Tensor) -> Tensor:
    shuffled = torch.empty_like(tensor_LE.flatten())
    shuffled[places] = tensor_LE.flatten()
    return shuffled.view_as(tensor_LE)
