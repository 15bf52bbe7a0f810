"""Find the fewest entries of a mask that keep its effect on dev.

Shape suffixes: L MoE layer, E expert.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, sqrt
from typing import Any

import torch
from torch import Tensor

from mascing.evidence.results import cell_score, changes_by_set
from mascing.masks.mask import Mask
from mascing.schemas.config import GatesConfig
from mascing.schemas.conversation import Conversation
from mascing.selection.choice import excess

Rows = Sequence[Mapping[str, Any]]
"""Rows of the VERDICTS table (schemas/tables.py) of one mask."""

Judge = Callable[[Sequence[Mask], Sequence[Conversation]], Sequence[Rows]]
"""Returns for each mask one row per conversation, in the given order."""

AT_ONCE = 4
"""Masks judged together, so that workers can share them."""

BLOCKS = 12
"""Blocks into which the remaining entries are first cut, to leave out one at a time."""

MOST_JUDGED = 40
"""Most parts of a mask to judge; the entries that remain then stay."""


@dataclass(frozen=True)
class Sparsified:
    """The pruned mask, the verdicts on it, and the number of replies judged to find it."""

    mask: Mask
    rows: Rows
    replies: int


def sparsify(
    mask: Mask,
    strength_LE: Tensor,
    baseline: Rows,
    full: Rows,
    judge: Judge,
    blocks: Sequence[Sequence[Conversation]],
    gates: GatesConfig,
) -> Sparsified:
    """Prune ``mask`` to the fewest entries, at least one, that keep its effect on the conversations of ``blocks``.

    A search first finds the shortest run of the strongest entries; ``strength_LE`` orders them. A strong entry need not
    matter, so the function then leaves out ever smaller blocks of the remaining entries. It compares every part with
    the full mask on the same conversations. A part keeps the effect if no rate, target or kept, falls by more than one
    standard error (the one-standard-error rule of Breiman et al. 1984), and none exceeds its limit by more than with
    the full mask. A part that fails on the first of the ``blocks`` is not judged on the others. ``baseline`` and
    ``full`` are the verdicts on the unsteered model and on the full mask, on all blocks. A mask that does not certainly
    raise the target rate has no effect to keep; the function returns it unchanged.
    """
    if changes_by_set(baseline, full)["target"].low <= 0:
        return Sparsified(mask, full, 0)
    trials = _Trials(mask, baseline, full, judge, blocks, gates)
    shortest = _shortest_start(_strongest_first(mask, strength_LE), trials)
    pruned = _without_spare_blocks(shortest, trials)
    return Sparsified(restricted(mask, pruned), trials.rows_of(pruned), trials.replies)


Places = tuple[int, ...]
"""Entries of a mask, as indices into its flattened [L, E]."""


def restricted(mask: Mask, places: Places) -> Mask:
    """Restrict the mask and its provenance to the entries at ``places``; the provenance says how many remain."""
    keep_LE = torch.zeros(mask.spec.n_layers, mask.spec.n_experts, dtype=torch.bool)
    keep_LE.view(-1)[list(places)] = True
    provenance = {**mask.provenance, "kept": len(places), "kept_of": mask.entries}
    if "experts" in provenance:
        experts = {(mask.spec.layer_ids[layer], expert) for layer, expert in keep_LE.nonzero().tolist()}
        provenance["experts"] = [row for row in provenance["experts"] if (row["layer"], row["expert"]) in experts]
    return Mask(mask.spec, mask.rule.restricted(keep_LE), provenance)


class _Trials:
    """Judges parts of one mask and remembers the verdicts."""

    def __init__(
        self,
        mask: Mask,
        baseline: Rows,
        full: Rows,
        judge: Judge,
        blocks: Sequence[Sequence[Conversation]],
        gates: GatesConfig,
    ) -> None:
        self._mask, self._full, self._judge, self._blocks, self._gates = mask, full, judge, blocks, gates
        self._baseline = cell_score({}, baseline)
        self._excess = excess(self._baseline, cell_score({}, full), gates)
        self._rows: dict[Places, list[Mapping[str, Any]]] = {}
        self._tried = 0
        self.replies = 0

    def rows_of(self, places: Places) -> Rows:
        return self._rows.get(places, self._full)

    def keep_effect(self, parts: Sequence[Places]) -> list[bool]:
        """Return whether each part keeps the effect; shorter than ``parts`` once MOST_JUDGED parts were judged."""
        parts = parts[: MOST_JUDGED - self._tried]
        self._tried += len(parts)
        self._rows |= {part: [] for part in parts}
        passing = list(parts)
        for block in self._blocks:
            if passing:
                judged = self._judge([restricted(self._mask, part) for part in passing], block)
                self.replies += sum(map(len, judged))
                for part, rows in zip(passing, judged, strict=True):
                    self._rows[part] += rows
                passing = [part for part in passing if _within_noise(self._full, self._rows[part])]
        return [part in passing and self._within_limits(self._rows[part]) for part in parts]

    def _within_limits(self, rows: Rows) -> bool:
        return excess(self._baseline, cell_score({}, rows), self._gates) <= self._excess


def _within_noise(full: Rows, rows: Rows) -> bool:
    """Return whether every set of ``rows`` lost at most one standard error of hits, clustered by group.

    The standard error is that of the paired difference. An unscored reply is not a hit: it must not pass for noise.
    """
    hits = {(row["set"], row["conversation_id"]): row["outcome"] == "hit" for row in full}
    losses: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        lost = hits[row["set"], row["conversation_id"]] - (row["outcome"] == "hit")
        losses[row["set"]][row["group_id"]] += lost
    return all(by_group.total() <= sqrt(sum(n * n for n in by_group.values())) for by_group in losses.values())


def _strongest_first(mask: Mask, strength_LE: Tensor) -> Places:
    order = strength_LE.flatten().argsort(descending=True, stable=True)
    return tuple(order[mask.rule.entries_LE.flatten()[order]].tolist())


def _shortest_start(places: Places, trials: _Trials) -> Places:
    """Return the shortest start of ``places`` that keeps the effect."""
    return places[: _least(0, len(places), lambda length: places[:length], trials)]


def _without_spare_blocks(places: Places, trials: _Trials) -> Places:
    """Leave out all blocks that can be spared together, weakest first, in ever smaller blocks."""
    size = ceil(len(places) / BLOCKS)
    while True:
        places = _without_spare(places, size, trials)
        if size == 1:
            return places
        size = ceil(size / 2)


def _without_spare(places: Places, size: int, trials: _Trials) -> Places:
    blocks = [places[start : start + size] for start in range(0, len(places), size)]
    if len(blocks) == 1:
        return places
    outcomes = trials.keep_effect([_less(places, [block]) for block in blocks])
    spare = [block for block, keeps_effect in zip(blocks, outcomes, strict=False) if keeps_effect][::-1]
    if not spare:
        return places
    most = min(len(spare), len(blocks) - 1)

    def part(held_back: int) -> Places:
        return _less(places, spare[: most - held_back])

    return part(_least(-1, most - 1, part, trials))


def _least(fails: int, holds: int, part: Callable[[int], Places], trials: _Trials) -> int:
    """Search in several steps for the least number above ``fails`` whose part keeps the effect.

    The part of ``holds`` keeps it. The result is a number judged to keep the effect, or ``holds``.
    """
    while holds - fails > 1:
        step = ceil((holds - fails) / (AT_ONCE + 1))
        numbers = list(range(fails + step, holds, step))
        outcomes = trials.keep_effect([part(number) for number in numbers])
        holding = [number for number, keeps_effect in zip(numbers, outcomes, strict=False) if keeps_effect]
        holds = min(holding, default=holds)
        if len(outcomes) < len(numbers):
            break
        fails = max([fails, *(number for number in numbers if number < holds)])
    return holds


def _less(places: Places, blocks: Sequence[Places]) -> Places:
    left_out = {place for block in blocks for place in block}
    return tuple(place for place in places if place not in left_out)
