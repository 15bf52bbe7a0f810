"""The control of every method: a mask with the same entries on other experts.

Shape suffixes: L MoE layer, E expert.
"""

import torch
from torch import Tensor

from mascing.masks.candidates import Candidate
from mascing.masks.mask import Mask

NAME = "random"


def shuffled(candidate: Candidate, seed: int) -> Candidate:
    """The candidate with the entries of each layer moved to other experts of that layer.

    Sparsity, norm and rule are the same, and so is the histogram of entries by layer: layers differ in what any
    disturbance there does. An entry goes to an expert that the mask leaves alone as long as its layer has one, since a
    control that holds a part of the mask's circuit is none.
    """
    generator = torch.Generator().manual_seed(seed)
    cell = {"of": candidate.method, **candidate.cell, "seed": seed}
    provenance = {"method": NAME, **cell}
    mask = candidate.mask
    places_LE = _places(mask.rule.entries_LE, generator)
    return Candidate(NAME, cell, Mask(mask.spec, mask.rule.moved(places_LE), provenance))


def _places(entries_LE: Tensor, generator: torch.Generator) -> Tensor:
    """New place of every expert: int64 [L, E], a permutation in each layer."""
    places_LE = torch.empty(entries_LE.shape, dtype=torch.long)
    for entries_E, places_E in zip(entries_LE, places_LE, strict=True):
        order = torch.randperm(len(entries_E), generator=generator)
        entries, free = order[entries_E[order]], order[~entries_E[order]]
        again = entries[torch.randperm(len(entries), generator=generator)]
        places_E[torch.cat([entries, free])] = torch.cat([free, again])
    return places_LE
