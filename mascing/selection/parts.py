"""Search for a small part of a mask that keeps its effect, whatever tells whether a part keeps it.

Shape suffixes: L MoE layer, E expert.
"""

from collections.abc import Callable, Sequence
from math import ceil

import torch
from torch import Tensor

from mascing.masks.mask import Mask

Places = tuple[int, ...]
"""Entries of a mask, as indices into its flattened [L, E]."""

KeepEffect = Callable[[Sequence[Places]], Sequence[bool]]
"""Tells which parts keep the effect; the answer is shorter than the question once no more parts can be tried."""

AT_ONCE = 4
"""Parts tried together, so that workers can share them."""

BLOCKS = 12
"""Blocks into which the remaining entries are first cut, to leave out one at a time."""


def strongest_first(mask: Mask, strength_LE: Tensor) -> Places:
    """The entries of ``mask`` by their strength."""
    order = strength_LE.flatten().argsort(descending=True, stable=True)
    return tuple(order[mask.rule.entries_LE.flatten()[order]].tolist())


def restricted(mask: Mask, places: Places) -> Mask:
    """Restrict the mask and its provenance to the entries at ``places``; the provenance says how many remain."""
    keep_LE = torch.zeros(mask.spec.n_layers, mask.spec.n_experts, dtype=torch.bool)
    keep_LE.view(-1)[list(places)] = True
    provenance = {**mask.provenance, "kept": len(places), "kept_of": mask.entries}
    if "experts" in provenance:
        experts = {(mask.spec.layer_ids[layer], expert) for layer, expert in keep_LE.nonzero().tolist()}
        provenance["experts"] = [row for row in provenance["experts"] if (row["layer"], row["expert"]) in experts]
    return Mask(mask.spec, mask.rule.restricted(keep_LE), provenance)


def ever_smaller(places: Places, keep_effect: KeepEffect) -> list[Places]:
    """Return parts that keep the effect, each smaller than the one before; the first is all of ``places``.

    The search first finds the shortest start of ``places``, which are in the order of their strength. A strong entry
    need not matter, so it then leaves out ever smaller blocks of the remaining entries, the weakest first.
    """
    found = [places]
    _shortest_start(found, keep_effect)
    size = ceil(len(found[-1]) / BLOCKS)
    while True:
        _leave_out_blocks(found, size, keep_effect)
        if size == 1:
            return found
        size = ceil(size / 2)


def _shortest_start(found: list[Places], keep_effect: KeepEffect) -> None:
    places = found[-1]
    _narrow(found, 0, len(places), lambda length: places[:length], keep_effect)


def _leave_out_blocks(found: list[Places], size: int, keep_effect: KeepEffect) -> None:
    """Leave out together all blocks that can be spared one by one, or the most of the weakest."""
    places = found[-1]
    blocks = [places[start : start + size] for start in range(0, len(places), size)]
    if len(blocks) == 1:
        return
    parts = [_less(places, [block]) for block in blocks]
    outcomes = keep_effect(parts)
    spare = [block for block, keeps_effect in zip(blocks, outcomes, strict=False) if keeps_effect][::-1]
    if not spare:
        return
    found.append(_less(places, spare[:1]))
    most = min(len(spare), len(blocks) - 1)
    _narrow(found, -1, most - 1, lambda held_back: _less(places, spare[: most - held_back]), keep_effect)


def _narrow(
    found: list[Places], fails: int, holds: int, part: Callable[[int], Places], keep_effect: KeepEffect
) -> None:
    """Add parts of ever smaller numbers above ``fails`` that keep the effect, as that of ``holds`` does.

    A number that keeps the effect is searched for in several steps at once.
    """
    while holds - fails > 1:
        step = ceil((holds - fails) / (AT_ONCE + 1))
        numbers = list(range(fails + step, holds, step))
        outcomes = keep_effect([part(number) for number in numbers])
        holding = [number for number, keeps_effect in zip(numbers, outcomes, strict=False) if keeps_effect]
        found += [part(number) for number in reversed(holding)]
        holds = min(holding, default=holds)
        if len(outcomes) < len(numbers):
            return
        fails = max([fails, *(number for number in numbers if number < holds)])


def _less(places: Places, blocks: Sequence[Places]) -> Places:
    left_out = {place for block in blocks for place in block}
    return tuple(place for place in places if place not in left_out)
