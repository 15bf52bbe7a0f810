"""The control for every method: a mask with the same entries on other experts.

Shape suffixes: L MoE layer, E expert.
"""

import torch
from torch import Tensor

from mascing.masks.candidates import Candidate
from mascing.masks.mask import Mask

NAME = "random"


def shuffled(candidate: Candidate, seed: int) -> Candidate:
    """Move the entries of each layer to other experts of that layer.

    Sparsity, norm and rule stay the same. So does the number of entries per layer, because the effect of a disturbance
    depends on its layer. Entries go first to experts that the mask leaves alone: a control must not contain a part of
    the mask's circuit.
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
