"""Find the fewest entries of a mask that keep its effect on dev: read to find them, judge to confirm them."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any, Generic

from torch import Tensor

from mascing.evidence.results import cell_score, changes_by_set
from mascing.masks.mask import Mask
from mascing.schemas.config import GatesConfig
from mascing.selection.choice import excess
from mascing.selection.parts import Places, ever_smaller, restricted, strongest_first
from mascing.selection.racing import M

Rows = Sequence[Mapping[str, Any]]
"""Rows of the VERDICTS table (schemas/tables.py) of one mask."""

Judge = Callable[[Sequence[Mask], Sequence[M]], Sequence[Rows]]
"""Returns for each mask one row per conversation, in the given order."""

Read = Callable[[Sequence[Mask]], Sequence[Mapping[str, float]]]
"""Returns the forced rates (mascing/selection/margin.py) of each mask, by set."""

MOST_TRIED = 40
"""Most parts of a mask to read or judge; the entries that remain then stay."""

SLACK = 0.01
"""A fall of a forced rate that is no loss: wherever less was allowed, no smaller part was lost in judged replies."""

STEP = 1.5
"""How much larger the next part must be after one that failed to be confirmed."""


@dataclass(frozen=True)
class Sparsified:
    """The pruned mask, the verdicts on it in the order of those on the full mask, and the number of replies judged."""

    mask: Mask
    rows: Rows
    replies: int


@dataclass(frozen=True)
class Evidence(Generic[M]):
    """What a mask is compared by: conversations in blocks, and the verdicts of the unsteered model and the full mask.

    ``budget`` is the most replies that ``judge`` may be asked for. Without ``read``, replies alone must tell.
    """

    blocks: Sequence[Sequence[M]]
    baseline: Rows
    full: Rows
    judge: Judge[M]
    budget: int
    read: Read | None


def sparsify(mask: Mask, strength_LE: Tensor, evidence: Evidence[Any], gates: GatesConfig) -> Sparsified:
    """Prune ``mask`` to the fewest entries, at least one, that keep its effect.

    ``strength_LE`` orders the entries for the search (`ever_smaller`), which trusts forced rates: none may fall by more
    than SLACK. Judged replies then confirm the smallest part, or else the next one that is STEP times as large. They
    compare it with the full mask on the same conversations: no rate, target or kept, may fall by more than one standard
    error (the one-standard-error rule of Breiman et al. 1984), and none may exceed its limit by more than with the full
    mask. A part that lost two standard errors on the first blocks is not judged on the others. If no part is confirmed
    within the budget, the mask stays as it is.

    Without forced rates, judged replies alone guide the search as far as the budget goes. A mask that does not
    certainly raise the target rate has no effect to keep; the function returns it unchanged.
    """
    if changes_by_set(evidence.baseline, evidence.full)["target"].low <= 0:
        return Sparsified(mask, evidence.full, 0)
    judged = _Judged(mask, evidence, gates)
    entries = strongest_first(mask, strength_LE)
    if evidence.read is None:
        part = ever_smaller(entries, judged.keep_effect)[-1]
    else:
        part = _confirmed(ever_smaller(entries, _Read(mask, evidence.read).keep_effect), judged)
    return Sparsified(restricted(mask, part), judged.rows_of(part), judged.replies)


def _confirmed(parts: Sequence[Places], judged: "_Judged") -> Places:
    """Return the smallest of the confirmed ``parts``; the first of them is the full mask and needs no confirmation."""
    full, *smaller = parts
    while smaller:
        part = smaller[-1]
        outcomes = judged.keep_effect([part])
        if outcomes == [True]:
            return part
        if not outcomes:
            return full
        smaller = [other for other in smaller if len(other) >= STEP * len(part)]
    return full


class _Read:
    """Compares forced rates of parts of one mask with those of the whole."""

    def __init__(self, mask: Mask, read: Read) -> None:
        self._mask, self._read = mask, read
        [self._full] = read([mask])
        self._left = MOST_TRIED

    def keep_effect(self, parts: Sequence[Places]) -> list[bool]:
        """Return whether each part keeps the effect; shorter than ``parts`` once MOST_TRIED parts were read."""
        parts = parts[: self._left]
        self._left -= len(parts)
        rates = self._read([restricted(self._mask, part) for part in parts]) if parts else ()
        return [all(self._full[name] - rate <= SLACK for name, rate in of_part.items()) for of_part in rates]


class _Judged:
    """Judges parts of one mask and remembers the verdicts."""

    def __init__(self, mask: Mask, evidence: Evidence[Any], gates: GatesConfig) -> None:
        self._mask, self._evidence, self._gates = mask, evidence, gates
        self._baseline = cell_score({}, evidence.baseline)
        self._excess = excess(self._baseline, cell_score({}, evidence.full), gates)
        self._rows: dict[Places, list[Mapping[str, Any]]] = {}
        self.replies = 0

    def rows_of(self, places: Places) -> Rows:
        """The verdicts on a part, in the order of those on the full mask; a part never judged is the full mask."""
        if places not in self._rows:
            return self._evidence.full
        rows = {(row["set"], row["conversation_id"]): row for row in self._rows[places]}
        return [rows[row["set"], row["conversation_id"]] for row in self._evidence.full]

    def keep_effect(self, parts: Sequence[Places]) -> list[bool]:
        """Return whether each part keeps the effect; shorter than ``parts`` where the budget ends."""
        affordable = max(0, self._evidence.budget - self.replies) // len(self._evidence.full)
        parts = parts[: min(affordable, MOST_TRIED - len(self._rows))]
        self._rows |= {part: [] for part in parts}
        passing = list(parts)
        for number, block in enumerate(self._evidence.blocks, start=1):
            if passing:
                judged = self._evidence.judge([restricted(self._mask, part) for part in passing], block)
                self.replies += sum(map(len, judged))
                for part, rows in zip(passing, judged, strict=True):
                    self._rows[part] += rows
                errors = 1 if number == len(self._evidence.blocks) else 2
                passing = [part for part in passing if _within(errors, self._evidence.full, self._rows[part])]
        return [part in passing and self._within_limits(self._rows[part]) for part in parts]

    def _within_limits(self, rows: Rows) -> bool:
        return excess(self._baseline, cell_score({}, rows), self._gates) <= self._excess


def _within(errors: int, full: Rows, rows: Rows) -> bool:
    """Return whether every set of ``rows`` lost at most so many standard errors of hits, clustered by group.

    The standard error is that of the paired difference. An unscored reply is not a hit: it must not pass for noise.
    """
    hits = {(row["set"], row["conversation_id"]): row["outcome"] == "hit" for row in full}
    losses: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        lost = hits[row["set"], row["conversation_id"]] - (row["outcome"] == "hit")
        losses[row["set"]][row["group_id"]] += lost
    return all(by_group.total() <= errors * sqrt(sum(n * n for n in by_group.values())) for by_group in losses.values())
