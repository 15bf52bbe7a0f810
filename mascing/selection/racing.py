"""Selection by racing: candidates are judged on growing blocks of dev conversations and leave once they clearly lose.

The race knows masks by number only and has them judged by a callback, so it can be replayed from stored verdicts.
Source: Maron and Moore (1994), Hoeffding races; here with paired bounds clustered by group.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, sqrt
from typing import Any

from mascing.evidence.results import cell_score, changes_by_set
from mascing.schemas.config import GatesConfig
from mascing.schemas.conversation import Conversation
from mascing.schemas.result import Rate
from mascing.selection.choice import HEADROOM, choose

INDIFFERENCE = 0.06
"""A lead in target rate that is not worth more judging: who is certain to lead by less than this may leave."""

Cell = int | None
"""Number of a candidate among all of a run; None is the unsteered model."""

Rows = Sequence[Mapping[str, Any]]
"""Rows of the VERDICTS table (schemas/tables.py) of one cell."""

Judge = Callable[[Sequence[Cell], Sequence[Conversation]], Sequence[Rows]]
"""For each cell one row a conversation, in the order given."""


@dataclass(frozen=True)
class Race:
    """What a race judged and how it ended.

    ``verdicts`` holds the rows of every cell that ran, in the order of the blocks, so the rows of any two cells begin
    alike. ``picked`` is one cell a method. ``left`` tells of each other cell after which round it was out, and why.
    """

    verdicts: Mapping[Cell, Rows]
    picked: Mapping[str, int]
    left: Mapping[int, str]


def race(
    entrants: Mapping[str, Sequence[int]],
    blocks: Sequence[Sequence[Conversation]],
    judge: Judge,
    gates: GatesConfig,
    losses: Mapping[int, float],
) -> Race:
    """Judge the ``entrants`` (cells by method) block by block until each method has one left.

    Every cell runs in the first block. After each but the last, a cell leaves its method's race

    - if a utility or protected rate certainly falls by more than :func:`mascing.selection.choice.choose` allows, or
    - if a cell that would be chosen before it is no riskier, and its own lead in target rate is certainly below
      INDIFFERENCE. No riskier is a cell that keeps all rates whatever the rest of dev brings, or one that the prefill
      foretells a smaller loss; ``losses`` are the foretold ones, by cell.

    Certain is what the 95% interval of the paired difference says. Those that are left after the last block are
    decided by `choose`, as the full grid is; with a single block and all cells, this is the full grid.
    """
    running = {method: list(cells) for method, cells in entrants.items()}
    verdicts: dict[Cell, list[Mapping[str, Any]]] = {}
    left: dict[int, str] = {}
    sizes = Counter(one.set for block in blocks for one in block)
    for number, block in enumerate(blocks, start=1):
        asked: list[Cell] = [cell for cells in running.values() if number == 1 or len(cells) > 1 for cell in cells]
        if not asked:
            break
        asked = [None, *asked]
        for cell, rows in zip(asked, judge(asked, block), strict=True):
            verdicts.setdefault(cell, []).extend(rows)
        for method, cells in running.items():
            if len(cells) > 1 and number < len(blocks):
                out = _rejected(verdicts, cells, sizes, losses, gates)
                left |= {cell: f"round {number}: {why}" for cell, why in out.items()}
                running[method] = [cell for cell in cells if cell not in out]
    picked = {method: _choice(verdicts, cells, gates) for method, cells in running.items()}
    for method, cells in running.items():
        left |= {cell: f"round {len(blocks)}: not chosen" for cell in cells if cell != picked[method]}
    return Race(verdicts, picked, left)


def blocks_of(conversations: Sequence[Conversation], shares: Sequence[float], seed: int) -> list[list[Conversation]]:
    """The conversations in blocks that end after ``shares`` of the groups of every set.

    Groups stay whole and come in an order that ``seed`` and their names decide; every set that there is stands in the
    first block.
    """
    members: dict[str, list[Conversation]] = {}
    for conversation in conversations:
        members.setdefault(conversation.group_id, []).append(conversation)
    strata: dict[tuple[str, ...], list[str]] = {}
    for group in sorted(members, key=lambda group: _position(group, seed)):
        strata.setdefault(tuple(sorted({one.set for one in members[group]})), []).append(group)
    blocks: list[list[Conversation]] = []
    before = 0.0
    for share in shares:
        groups = [
            group
            for _, names in sorted(strata.items())
            for group in names[ceil(before * len(names)) : ceil(share * len(names))]
        ]
        blocks.append([conversation for group in groups for conversation in members[group]])
        before = share
    return [block for block in blocks if block]


def _position(group: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}/{group}".encode("utf-8", "surrogatepass")).digest()


def _choice(verdicts: Mapping[Cell, Rows], cells: Sequence[int], gates: GatesConfig) -> int:
    """The cell to pick of those that were judged on the same conversations."""
    judged = len(verdicts[cells[0]])
    scores = [cell_score({}, verdicts[cell]) for cell in cells]
    return cells[choose(cell_score({}, verdicts[None][:judged]), scores, gates)]


def _rejected(
    verdicts: Mapping[Cell, Rows],
    cells: Sequence[int],
    sizes: Mapping[str, int],
    losses: Mapping[int, float],
    gates: GatesConfig,
) -> dict[int, str]:
    """The cells that need not be judged further, and why; never all of them."""
    falls = {cell: changes_by_set(verdicts[cell], verdicts[None]) for cell in cells}
    out = {
        cell: f"{name} certainly falls by more than {100 * allowed:g} points"
        for cell in cells
        for name, allowed in _allowed(sizes, gates).items()
        if falls[cell][name].low > allowed
    }
    if len(out) == len(cells):
        return {}
    staying: list[int] = []
    for cell in _ranked(verdicts, [cell for cell in cells if cell not in out], gates):
        ahead = (
            other
            for other in staying
            if _settled(falls[other], sizes, gates) or losses.get(other, 1.0) <= losses.get(cell, 0.0)
        )
        if any(_lead(verdicts, cell, other) < INDIFFERENCE for other in ahead):
            out[cell] = "a cell that is no riskier has no lower target rate"
        else:
            staying.append(cell)
    return out


def _ranked(verdicts: Mapping[Cell, Rows], cells: Sequence[int], gates: GatesConfig) -> list[int]:
    """The cells in the order in which they would be chosen."""
    ranked: list[int] = []
    while rest := [cell for cell in cells if cell not in ranked]:
        ranked.append(_choice(verdicts, rest, gates))
    return ranked


def _allowed(sizes: Mapping[str, int], gates: GatesConfig) -> dict[str, float]:
    """By how much the choice lets each utility and protected rate fall."""
    limits = {"utility": gates.max_utility_loss, "protected": gates.protected_tolerance}
    return {name: HEADROOM * limits[name.partition("/")[0]] for name in sizes if name != "target"}


def _settled(falls: Mapping[str, Rate], sizes: Mapping[str, int], gates: GatesConfig) -> bool:
    """Whether no fall will have grown beyond what is allowed when all of dev is judged."""
    return all(_at_most(falls[name], sizes[name]) <= allowed for name, allowed in _allowed(sizes, gates).items())


def _at_most(fall: Rate, size: int) -> float:
    """The upper end of a prediction interval for the fall on all ``size`` conversations, of which some are judged.

    What is still to come is as uncertain as what was seen: its own sampling adds to that of the estimate.
    """
    rest = size - fall.n
    if rest == 0:
        return fall.value
    to_come = fall.value + (fall.high - fall.value) * sqrt(size / rest)
    return (fall.n * fall.value + rest * to_come) / size


def _lead(verdicts: Mapping[Cell, Rows], cell: int, champion: int) -> float:
    """The most by which the target rate of ``cell`` may be higher than the champion's."""
    target = {one: [row for row in verdicts[one] if row["set"] == "target"] for one in (cell, champion)}
    return changes_by_set(target[champion], target[cell])["target"].high
