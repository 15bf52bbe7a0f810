"""The searched grids: every cell's rate on the dev split, and the picked cell."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mascing.report.figures.figure import Figure, Json, Table, to_spec
from mascing.report.figures.palette import SEQUENTIAL
from mascing.report.looks import LOOKS, in_order
from mascing.report.wording import cell_text, percent, plain, set_title
from mascing.schemas.cards.dev_race import DevCell
from mascing.schemas.facts import SelectFacts

# Squares with a higher rate, in percent, are too dark (on a dark page too light) for text in the colour of ink.
_DARK_FROM = 65


class GridCell(DevCell):
    """A candidate on dev, with a mark if it was picked."""

    cell: dict[str, Any]
    picked: bool


def grid_cells(selected: SelectFacts) -> list[GridCell]:
    """Return the cells of the select stage, in the order of the search."""
    picked = set(selected.picked.items())
    counts: Counter[str] = Counter()
    cells = []
    for cell in selected.cells:
        cells.append(GridCell(**cell.model_dump(), picked=(cell.method, counts[cell.method]) in picked))
        counts[cell.method] += 1
    return cells


def cells_table(cells: Sequence[GridCell]) -> Table:
    """List every candidate: predicted rates, number of judged conversations, rates on dev, and why it left."""
    sets = _sets(cells)
    predicted = list(dict.fromkeys(name for name in sets for cell in cells if name in cell.foretold))
    rows = [
        (
            cell.method,
            cell_text(cell.cell),
            *(_rate(cell.foretold, name) for name in predicted),
            str(cell.judged),
            *(_rate(cell.by_set, name) for name in sets),
            "picked" if cell.picked else cell.left,
        )
        for method in in_order({cell.method for cell in cells})
        for cell in cells
        if cell.method == method
    ]
    predictions = (f"{set_title(name)}, predicted" for name in predicted)
    columns = ("Method", "Cell", *predictions, "Judged on", *(set_title(name) for name in sets), "Picked or left")
    return Table("Rates on the dev split", columns, tuple(rows))


def picks_table(cells: Sequence[GridCell]) -> Table:
    """List each method's pick: out of how many candidates it was picked, its cell, and its rates on dev."""
    counts, sets = Counter(cell.method for cell in cells), _sets(cells)
    picks = {cell.method: cell for cell in cells if cell.picked}
    rows = [
        (name, str(counts[name]), cell_text(pick.cell), str(pick.judged), *(_rate(pick.by_set, set_) for set_ in sets))
        for name, pick in ((name, picks[name]) for name in in_order(picks))
    ]
    columns = ("Method", "Candidates", "Picked", "Judged on", *map(set_title, sets))
    return Table("The pick of each method, on the dev split", columns, tuple(rows))


def _sets(cells: Sequence[GridCell]) -> list[str]:
    return list(dict.fromkeys(name for cell in cells for name in cell.by_set))


def _rate(rates: Mapping[str, float], name: str) -> str:
    return percent(rates[name]) if name in rates else "–"


def grid_figures(cells: Sequence[GridCell], baseline: Mapping[str, float]) -> dict[str, list[Figure]]:
    """Plot one heatmap per set, by the title of the grid.

    A grid has two axes; every combination of the other hyper-parameters, such as the span, has its own grid.
    ``baseline`` holds the unsteered dev rate of each set by name (``target``, ``utility/...``).
    """
    return {
        grid.title: [_figure(grid, name, baseline) for name in _sets(grid.cells)]
        for method in in_order({cell.method for cell in cells})
        for grid in _grids(method, [cell for cell in cells if cell.method == method])
        if _sets(grid.cells)
    }


@dataclass(frozen=True)
class _Grid:
    """Cells of one method that differ only along two axes, horizontal and vertical; ``shared`` holds the rest."""

    method: str
    axes: tuple[str, str]
    shared: Mapping[str, str]
    cells: Sequence[GridCell]

    @property
    def title(self) -> str:
        """The method and the shared hyper-parameters."""
        return ", ".join([self.method, *(f"{name} {value}" for name, value in self.shared.items())])

    @property
    def key(self) -> str:
        """The title as part of an HTML id."""
        return "-".join([self.method, *(re.sub(r"[^\w.]+", "-", value) for value in self.shared.values())])

    def ticks(self, axis: str) -> list[str]:
        """Return the values along an axis as text, numbers first, in ascending order."""
        values = {plain(cell.cell.get(axis)): cell.cell.get(axis) for cell in self.cells}
        return sorted(values, key=lambda text: _ascending(values[text]))

    def place(self, cell: GridCell) -> tuple[int, int]:
        """Return the column and row of a cell."""
        column, row = (self.ticks(axis).index(plain(cell.cell.get(axis))) for axis in self.axes)
        return column, row


def _grids(method: str, cells: Sequence[GridCell]) -> list[_Grid]:
    axes = (LOOKS[method].axes if method in LOOKS else None) or _widest(cells)
    members: dict[tuple[tuple[str, str], ...], list[GridCell]] = {}
    for cell in cells:
        # The span comes first, because readers look for it.
        names = sorted(cell.cell.keys() - set(axes), key=lambda name: (name != "span", name))
        shared = tuple((name, plain(cell.cell[name])) for name in names)
        members.setdefault(shared, []).append(cell)
    return [_Grid(method, axes, dict(shared), grid_cells) for shared, grid_cells in members.items()]


def _widest(cells: Sequence[GridCell]) -> tuple[str, str]:
    """Return the two hyper-parameters with the most values; placeholders fill in if cells have fewer."""
    names = dict.fromkeys(name for cell in cells for name in cell.cell)
    counts = {name: len({plain(cell.cell.get(name)) for cell in cells}) for name in names}
    first, second, *_ = [*sorted(counts, key=lambda name: -counts[name]), "cell", "–"]
    return first, second


def _ascending(value: Any) -> tuple[bool, float, str]:
    number = isinstance(value, int | float)
    return not number, value if number else 0.0, plain(value)


def _figure(grid: _Grid, name: str, baseline: Mapping[str, float]) -> Figure:
    across_name, down_name = grid.axes
    across, down = grid.ticks(across_name), grid.ticks(down_name)
    z: list[list[float | None]] = [[None] * len(across) for _ in down]
    judged = [cell for cell in grid.cells if name in cell.by_set]
    for cell in judged:
        column, row = grid.place(cell)
        z[row][column] = 100 * cell.by_set[name]
    picked = next((cell for cell in grid.cells if cell.picked), None)
    best = max(judged, key=lambda cell: cell.by_set[name])
    return Figure(
        key=f"grid-{grid.key}-{name.replace('/', '-')}",
        title=set_title(name),
        caption=_caption(name, baseline, picked, empty=len(judged) < len(grid.cells)),
        alt=(
            f"Grid of {down_name} by {across_name} for {grid.title}: {set_title(name)} on dev in percent, highest "
            f"{percent(best.by_set[name])} at {across_name} {plain(best.cell.get(across_name))}, {down_name} "
            f"{plain(best.cell.get(down_name))}" + (f"; picked cell {percent(picked.by_set[name])}." if picked else ".")
        ),
        spec=to_spec(
            [_squares(z), _values(z)],
            _ticks(across_name, across),
            _ticks(down_name, down),
            height=64 + 34 * max(3, len(down)),
            margin={"r": 8},
            shapes=[_outline(*grid.place(picked))] if picked else [],
        ),
    )


def _squares(z: Sequence[Sequence[float | None]]) -> Json:
    return {
        "type": "heatmap",
        "z": z,
        "zmin": 0,
        "zmax": 100,
        "colorscale": SEQUENTIAL,
        "showscale": False,
        "xgap": 1,
        "ygap": 1,
        "hoverongaps": False,
        "hovertemplate": "%{z:.1f}%<extra></extra>",
    }


def _values(z: Sequence[Sequence[float | None]]) -> Json:
    """Write each cell's rate in a colour that contrasts with its square."""
    shown = [(x, y, value) for y, row in enumerate(z) for x, value in enumerate(row) if value is not None]
    tints = ["var(--ink)" if value < _DARK_FROM else "var(--surface)" for _, _, value in shown]
    return {
        "type": "scatter",
        "x": [x for x, _, _ in shown],
        "y": [y for _, y, _ in shown],
        "text": [f"{value:.0f}" for _, _, value in shown],
        "mode": "text",
        "textfont": {"size": 11, "color": tints},
        "hoverinfo": "skip",
        "showlegend": False,
    }


def _ticks(title: str, values: Sequence[str]) -> Json:
    return {
        "title": title,
        "tickvals": list(range(len(values))),
        "ticktext": list(values),
        "showgrid": False,
    }


def _outline(column: int, row: int) -> Json:
    return {
        "type": "rect",
        "x0": column - 0.5,
        "x1": column + 0.5,
        "y0": row - 0.5,
        "y1": row + 0.5,
        "line": {"color": "var(--picked)", "width": 3},
    }


def _caption(name: str, baseline: Mapping[str, float], picked: GridCell | None, empty: bool) -> str:
    unsteered = f"Unsteered: {percent(baseline[name])}. " if name in baseline else ""
    where = "Outlined: the picked cell." if picked else "The picked cell is in another grid."
    left_out = " Empty: not judged, because its predicted rates were worse." if empty else ""
    return f"Rate on dev, %. {unsteered}{where}{left_out}"
