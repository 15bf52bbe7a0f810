"""The control for every method: a mask with the same entries on other experts.

Shape suffixes: L MoE layer, E expert.
"""

import torch
from torch import Tensor

from mascing.masks.candidates import Candidate
from mascing.masks.mask import Mask
from mascing.masks.rules import OverrideRule

NAME = "random"


def shuffled(candidate: Candidate, seed: int) -> Candidate:
    """Move the entries of each layer to other experts of that layer.

    Sparsity, norm and rule stay the same. So does the number of entries per layer, because the effect of a disturbance
    depends on its layer. Entries go first to experts that the mask leaves alone: a control must not contain a part of
    the mask's circuit. Where a router selects from groups, the entries of an override move with their group: spread
    over more groups, they could not be forced.
    """
    generator = torch.Generator().manual_seed(seed)
    cell = {"of": candidate.method, **candidate.cell, "seed": seed}
    provenance = {"method": NAME, **cell}
    mask = candidate.mask
    entries_LE = mask.rule.entries_LE
    if mask.spec.groups is not None and isinstance(mask.rule, OverrideRule):
        places_LE = _places_by_group(entries_LE, mask.spec.groups[0], generator)
    else:
        places_LE = _places(entries_LE, generator)
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


def _places_by_group(entries_LE: Tensor, n_groups: int, generator: torch.Generator) -> Tensor:
    """New places, int64 [L, E], that keep the experts of a group together."""
    entries_LGS = entries_LE.view(len(entries_LE), n_groups, -1)
    size = entries_LGS.shape[2]
    places_LGS = torch.empty(entries_LGS.shape, dtype=torch.long)
    for layer, to_G in enumerate(_places(entries_LGS.any(-1), generator).tolist()):
        for group, to in enumerate(to_G):
            source = _entries_last(entries_LGS[layer, group], generator).flip(0)
            places_LGS[layer, group, source] = to * size + _entries_last(entries_LGS[layer, to], generator)
    return places_LGS.view(entries_LE.shape)


def _entries_last(entries_S: Tensor, generator: torch.Generator) -> Tensor:
    """The places of a group in random order, those with an entry last."""
    order = torch.randperm(len(entries_S), generator=generator)
    return torch.cat([order[~entries_S[order]], order[entries_S[order]]])
