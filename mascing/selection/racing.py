"""Selection by racing: judge candidates on growing blocks of dev conversations and drop those that clearly lose.

The race knows masks only by number and judges them through a callback, so it can be replayed from stored verdicts.
Source: Maron and Moore (1994), Hoeffding races; here with paired bounds clustered by group.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, sqrt
from typing import Any, Protocol, TypeVar

from mascing.evidence.results import cell_score, changes_by_set
from mascing.schemas.config import GatesConfig
from mascing.schemas.result import Rate
from mascing.selection.choice import HEADROOM, choose

INDIFFERENCE = 0.06
"""A lead in target rate that is not worth more judging: a cell that certainly leads by less may leave."""


class Member(Protocol):
    """What selection knows of a conversation: its group and its set. Who judges it may know more."""

    @property
    def group_id(self) -> str:
        """The conversations of a group are close to each other."""

    @property
    def set(self) -> str:
        """`target`, or a set whose rate must not fall."""


M = TypeVar("M", bound=Member)

Cell = int | None
"""Number of a candidate among all candidates of a run; None is the unsteered model."""

Rows = Sequence[Mapping[str, Any]]
"""Rows of the VERDICTS table (schemas/tables.py) of one cell."""

Judge = Callable[[Sequence[Cell], Sequence[M]], Sequence[Rows]]
"""Returns for each cell one row per conversation, in the given order."""


@dataclass(frozen=True)
class Race:
    """The verdicts and the outcome of a race.

    ``verdicts`` holds the rows of every cell that ran, in the order of the blocks, so any two cells share a common
    start. ``picked`` holds one cell per method. ``left`` says for each other cell after which round it left, and why.
    """

    verdicts: Mapping[Cell, Rows]
    picked: Mapping[str, int]
    left: Mapping[int, str]


def race(
    entrants: Mapping[str, Sequence[int]],
    blocks: Sequence[Sequence[M]],
    judge: Judge[M],
    gates: GatesConfig,
    losses: Mapping[int, float],
    most: int | None = None,
) -> Race:
    """Judge the ``entrants`` (cells by method) block by block until each method has one left.

    Every cell runs in the first block. After each block but the last, a cell leaves its method's race

    - if a utility or protected rate certainly falls by more than :func:`mascing.selection.choice.choose` allows, or
    - if a cell that ranks before it is no riskier, and its own lead in target rate is certainly below INDIFFERENCE. A
      cell is no riskier if it keeps all rates whatever the rest of dev brings, or if the prefill predicts at most the
      same loss for it. ``losses`` are the predicted losses by cell.

    "Certainly" refers to the 95% interval of the paired difference. After the last block, `choose` decides among the
    remaining cells, as it does for the full grid; a single block with all cells is the full grid.

    The race takes at most ``most`` replies, or as many as the first block needs. Where the next block would take more,
    the largest fields lose their last cells first, in the order in which `choose` would take them.
    """
    running = {method: list(cells) for method, cells in entrants.items()}
    verdicts: dict[Cell, list[Mapping[str, Any]]] = {}
    left: dict[int, str] = {}
    sizes = Counter(conversation.set for block in blocks for conversation in block)
    for number, block in enumerate(blocks, start=1):
        if number > 1 and most is not None:
            affordable = max(0, most - replies_of(verdicts)) // len(block)
            spare = _beyond(running, verdicts, affordable, gates)
            left |= {cell: f"round {number - 1}: the replies ran short, and others were ahead" for cell in spare}
            running = {method: [cell for cell in cells if cell not in spare] for method, cells in running.items()}
        contested = [cell for cells in running.values() if number == 1 or len(cells) > 1 for cell in cells]
        if not contested:
            break
        judged: list[Cell] = [None, *contested]
        for cell, rows in zip(judged, judge(judged, block), strict=True):
            verdicts.setdefault(cell, []).extend(rows)
        for method, cells in running.items():
            if len(cells) > 1 and number < len(blocks):
                rejected = _rejected(verdicts, cells, sizes, losses, gates)
                left |= {cell: f"round {number}: {reason}" for cell, reason in rejected.items()}
                running[method] = [cell for cell in cells if cell not in rejected]
    picked = {method: _choice(verdicts, cells, gates) for method, cells in running.items()}
    for method, cells in running.items():
        left |= {cell: f"round {len(blocks)}: not chosen" for cell in cells if cell != picked[method]}
    return Race(verdicts, picked, left)


def replies_of(verdicts: Mapping[Cell, Rows]) -> int:
    """Return the number of judged replies of candidates; those of the unsteered model are known before."""
    return sum(len(rows) for cell, rows in verdicts.items() if cell is not None)


def blocks_of(conversations: Iterable[M], shares: Sequence[float], seed: int) -> list[list[M]]:
    """Split the conversations into blocks that end after ``shares`` of the groups of every set.

    Groups stay whole. Their order depends on ``seed`` and their names. The first block contains every set.
    """
    members: dict[str, list[M]] = {}
    for conversation in conversations:
        members.setdefault(conversation.group_id, []).append(conversation)
    strata: dict[tuple[str, ...], list[str]] = {}
    for group in sorted(members, key=lambda group: _position(group, seed)):
        strata.setdefault(tuple(sorted({conversation.set for conversation in members[group]})), []).append(group)
    blocks: list[list[M]] = []
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
    """Choose a cell among those judged on the same conversations."""
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
    """Return the cells that need no further judging, with the reason; never all of them."""
    falls = {cell: changes_by_set(verdicts[cell], verdicts[None]) for cell in cells}
    rejected = {
        cell: f"{name} certainly falls by more than {100 * allowed:g} points"
        for cell in cells
        for name, allowed in _allowed(sizes, gates).items()
        if falls[cell][name].low > allowed
    }
    if len(rejected) == len(cells):
        return {}
    staying: list[int] = []
    for cell in _ranked(verdicts, [cell for cell in cells if cell not in rejected], gates):
        ahead = (
            other
            for other in staying
            if _settled(falls[other], sizes, gates) or losses.get(other, 1.0) <= losses.get(cell, 0.0)
        )
        if any(_lead(verdicts, cell, other) < INDIFFERENCE for other in ahead):
            rejected[cell] = "a cell that is no riskier has no lower target rate"
        else:
            staying.append(cell)
    return rejected


def _beyond(
    running: Mapping[str, Sequence[int]], verdicts: Mapping[Cell, Rows], affordable: int, gates: GatesConfig
) -> list[int]:
    """Return the cells that must leave so that at most ``affordable`` cells are still contested."""
    fields = {method: _ranked(verdicts, cells, gates) for method, cells in running.items() if len(cells) > 1}
    beyond: list[int] = []
    while sum(map(len, fields.values())) > affordable:
        largest = max(fields, key=lambda method: len(fields[method]))
        beyond.append(fields[largest].pop())
        if len(fields[largest]) == 1:
            del fields[largest]
    return beyond


def _ranked(verdicts: Mapping[Cell, Rows], cells: Sequence[int], gates: GatesConfig) -> list[int]:
    """Return the cells in the order in which `choose` would take them."""
    ranked: list[int] = []
    while rest := [cell for cell in cells if cell not in ranked]:
        ranked.append(_choice(verdicts, rest, gates))
    return ranked


def _allowed(sizes: Mapping[str, int], gates: GatesConfig) -> dict[str, float]:
    """Return by how much `choose` lets each utility and protected rate fall."""
    limits = {"utility": gates.max_utility_loss, "protected": gates.protected_tolerance}
    return {name: HEADROOM * limits[name.partition("/")[0]] for name in sizes if name != "target"}


def _settled(falls: Mapping[str, Rate], sizes: Mapping[str, int], gates: GatesConfig) -> bool:
    """Return whether no fall is going to exceed its limit once all of dev is judged."""
    return all(_at_most(falls[name], sizes[name]) <= allowed for name, allowed in _allowed(sizes, gates).items())


def _at_most(fall: Rate, size: int) -> float:
    """Return the upper end of a prediction interval for the fall on all ``size`` conversations, some already judged.

    The conversations still to come add their own sampling error to that of the estimate.
    """
    rest = size - fall.n
    if rest == 0:
        return fall.value
    to_come = fall.value + (fall.high - fall.value) * sqrt(size / rest)
    return (fall.n * fall.value + rest * to_come) / size


def _lead(verdicts: Mapping[Cell, Rows], cell: int, champion: int) -> float:
    """Return the upper bound of the lead of ``cell`` over the champion in target rate."""
    own, champions = ([row for row in verdicts[key] if row["set"] == "target"] for key in (cell, champion))
    return changes_by_set(champions, own)["target"].high
