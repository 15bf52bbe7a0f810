"""Selection by racing: candidates are judged on growing blocks of dev conversations and leave once they clearly lose.

The race knows masks by number only and has them judged by a callback, so it can be replayed from stored verdicts.
Source: Maron and Moore (1994), Hoeffding races; here with paired bounds clustered by group.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, cast

from mascing.results import cell_score
from mascing.selection import HEADROOM, choose
from mascing.statistics import paired_difference
from schemas.config import GatesConfig
from schemas.conversation import Conversation
from schemas.result import Rate
from schemas.verdict import Outcome

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
    entrants: Mapping[str, Sequence[int]], blocks: Sequence[Sequence[Conversation]], judge: Judge, gates: GatesConfig
) -> Race:
    """Judge the ``entrants`` (cells by method) block by block until each method has one left.

    Every cell runs in the first block. After each but the last, a cell leaves its method's race if a fall of a utility
    or protected rate is certainly beyond its limit, or if another cell's target rate is certainly higher and its worst
    fall no larger; certain means that the 95% interval of the paired difference says so. Those that are left after the
    last block are decided by :func:`mascing.selection.choose`; with a single block that is the whole selection.
    """
    running = {method: list(cells) for method, cells in entrants.items()}
    verdicts: dict[Cell, list[Mapping[str, Any]]] = {}
    left: dict[int, str] = {}
    for number, block in enumerate(blocks, start=1):
        asked: list[Cell] = [cell for cells in running.values() if number == 1 or len(cells) > 1 for cell in cells]
        if not asked:
            break
        asked = [None, *asked]
        for cell, rows in zip(asked, judge(asked, block), strict=True):
            verdicts.setdefault(cell, []).extend(rows)
        for method, cells in running.items():
            if len(cells) > 1 and number < len(blocks):
                out = _rejected(verdicts, cells, gates)
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


def _rejected(verdicts: Mapping[Cell, Rows], cells: Sequence[int], gates: GatesConfig) -> dict[int, str]:
    """The cells that certainly are not the one to pick, and why; never all of them."""
    beyond = {cell: why for cell in cells if (why := _beyond(verdicts, cell, gates))}
    if len(beyond) == len(cells):
        return {}
    falls = {cell: _fall(verdicts, cell, gates) for cell in cells}
    beaten = {
        cell: "another cell's target rate is certainly higher"
        for cell in cells
        if any(
            other not in beyond and falls[other] <= falls[cell] and _change(verdicts, cell, other, "target").low > 0
            for other in cells
            if other != cell
        )
    }
    return beaten | beyond


def _beyond(verdicts: Mapping[Cell, Rows], cell: int, gates: GatesConfig) -> str | None:
    """Which rate certainly falls by more than the choice allows."""
    for name, allowed in _allowed(verdicts[None], gates).items():
        change = _change(verdicts, None, cell, name)
        if change.high < -allowed:
            return f"{name} certainly falls by more than {100 * allowed:g} points"
    return None


def _fall(verdicts: Mapping[Cell, Rows], cell: int, gates: GatesConfig) -> float:
    """The largest fall of a utility or protected rate, measured by what the choice allows; 0 where none falls."""
    changes = {name: _change(verdicts, None, cell, name).value for name in _allowed(verdicts[None], gates)}
    return max((-change for change in changes.values()), default=0.0)


def _allowed(rows: Rows, gates: GatesConfig) -> dict[str, float]:
    limits = {"utility": gates.max_utility_loss, "protected": gates.protected_tolerance}
    names = sorted({str(row["set"]) for row in rows} - {"target"})
    return {name: HEADROOM * limits[name.partition("/")[0]] for name in names}


def _change(verdicts: Mapping[Cell, Rows], before: Cell, after: Cell, name: str) -> Rate:
    """How much higher the rate of a set is with ``after``, on the conversations that both were judged on."""
    pairs = [pair for pair in zip(verdicts[before], verdicts[after], strict=False) if pair[0]["set"] == name]
    return paired_difference(
        [cast(Outcome, one["outcome"]) for one, _ in pairs],
        [cast(Outcome, other["outcome"]) for _, other in pairs],
        [str(one["group_id"]) for one, _ in pairs],
    )
