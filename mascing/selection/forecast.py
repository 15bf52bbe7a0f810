"""Predict from forced rates which cells are worth judging: read all of them a little, the better ones more.

The forecast knows cells only by number and reads them through a callback, as the race judges them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from mascing.selection.margin import Forced, contenders, forced_rates, foretells, places_for, promising
from mascing.selection.racing import Cell, M, blocks_of

READ = 0.25
"""Share of dev that decides: likelihoods differ between masks on far fewer conversations than verdicts do."""

THINNED = (1 / 16, 1 / 8)
"""Shares of dev after which the less promising half of a field is read no further."""

FEWEST_CONVERSATIONS = 24
"""A part of dev that is smaller than this decides nothing."""

FEWEST_CELLS = 6
"""A field of so few cells loses none."""

Field = tuple[str, int]
"""The method and the search seed that found a cell."""

Read = Callable[[Sequence[Cell], Sequence[M]], Sequence[Forced]]
"""Returns for each cell the likelihoods of the given replies to the conversations."""

Rates = Mapping[int, Mapping[str, float]]
"""The rates by set of cells, by number."""


@dataclass(frozen=True)
class Forecast:
    """The forced rates of every cell on the conversations that it was read on, and the cells read to the end."""

    rates: Rates
    running: Sequence[int]


def forecast(fields: Sequence[Field], conversations: Sequence[M], seed: int, read: Read[M]) -> Forecast | None:
    """Read a part of ``conversations`` under every cell, and a larger part under the better half of each field.

    ``fields`` says where each cell is from. Returns None if the conversations have no given replies for a margin.
    """
    shares = [share for share in THINNED if share * len(conversations) >= FEWEST_CONVERSATIONS]
    blocks = blocks_of(conversations, (*shares, READ, 1.0), seed)[: len(shares) + 1]
    running = list(range(len(fields)))
    likelihoods: dict[Cell, Forced] = {cell: Forced([], {}) for cell in (None, *running)}
    rates: dict[int, dict[str, float]] = {}
    for block in blocks:
        running = _better_half(fields, running, rates) if rates else running
        for cell, forced in zip([None, *running], read([None, *running], block), strict=True):
            likelihoods[cell] += forced
        rates |= {cell: forced_rates(likelihoods[None], likelihoods[cell]) for cell in running}
        if not foretells([rates[cell] for cell in running]):
            return None
    return Forecast(rates, running)


def entrants(fields: Sequence[Field], running: Sequence[int], rates: Rates, keep: int) -> dict[str, list[int]]:
    """Return the contenders of each method among the ``running`` cells, by their ``rates``.

    A grid's places are counted by all of its cells. The search seeds of a method that has several are all represented.
    """
    chosen: dict[str, list[int]] = {}
    for method in dict.fromkeys(method for method, _ in fields):
        cells = [cell for cell in running if fields[cell][0] == method]
        seeds = [fields[cell][1] for cell in cells]
        places = places_for(sum(of == method for of, _ in fields), keep)
        promising_ones = contenders([rates[cell] for cell in cells], places, seeds if len(set(seeds)) > 1 else ())
        chosen[method] = [cells[index] for index in promising_ones]
    return chosen


def _better_half(fields: Sequence[Field], running: Sequence[int], rates: Rates) -> list[int]:
    halves: list[int] = []
    for field in dict.fromkeys(fields):
        cells = [cell for cell in running if fields[cell] == field]
        most = max(FEWEST_CELLS, ceil(len(cells) / 2))
        halves += [cells[index] for index in promising([rates[cell] for cell in cells], most)]
    return sorted(halves)
