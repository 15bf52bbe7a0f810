"""The grids that were searched: every cell's rate on the dev split, and which cell was picked there."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from mascing.report.figures.figure import Figure, Json, Table, to_spec
from mascing.report.figures.palette import SEQUENTIAL
from mascing.report.wording import cell_text, in_order, percent, plain, set_title
from mascing.schemas.facts import DevCell, SelectFacts

# The two numbers that span a method's grid: horizontal, vertical.
_AXES = {
    "mascing": ("alpha", "lambda"),
    "steermoe": ("n_activated", "n_deactivated"),
    "gradient": ("alpha", "l1"),
    "active": ("alpha", "l1"),
}
# What else tells one of a method's grids from another.
_APART = ("span", "score", "threshold")
# Squares of a higher rate, in percent, are too dark (on a dark page too light) for text in the colour of ink.
_DARK_FROM = 65


class GridCell(DevCell):
    """A candidate on dev, and whether it was picked."""

    cell: dict[str, Any]
    picked: bool


def grid_cells(selected: SelectFacts) -> list[GridCell]:
    """The cells of the select stage, in the order of the search."""
    picked = set(selected.picked.items())
    counts: Counter[str] = Counter()
    cells = []
    for cell in selected.cells:
        cells.append(GridCell(**cell.model_dump(), picked=(cell.method, counts[cell.method]) in picked))
        counts[cell.method] += 1
    return cells


def cells_table(cells: Sequence[GridCell]) -> Table:
    """Every candidate with its rates on dev, on how many conversations, what the prefill foretold and why it left."""
    sets = _sets(cells)
    told = list(dict.fromkeys(name for name in sets for cell in cells if name in cell.foretold))
    rows = [
        (
            cell.method,
            cell_text(cell.cell),
            *(_rate(cell.foretold, name) for name in told),
            str(cell.judged),
            *(_rate(cell.by_set, name) for name in sets),
            "picked" if cell.picked else cell.left,
        )
        for method in in_order({cell.method for cell in cells})
        for cell in cells
        if cell.method == method
    ]
    foretold = (f"{set_title(name)}, foretold" for name in told)
    columns = ("Method", "Cell", *foretold, "Judged on", *(set_title(name) for name in sets), "Picked or left")
    return Table("Rates on the dev split", columns, tuple(rows))


def _sets(cells: Sequence[GridCell]) -> list[str]:
    return list(dict.fromkeys(name for cell in cells for name in cell.by_set))


def _rate(rates: Mapping[str, float], name: str) -> str:
    return percent(rates[name]) if name in rates else "–"


def grid_figures(cells: Sequence[GridCell], baseline: Mapping[str, float]) -> dict[str, list[Figure]]:
    """Heatmaps, one a set, by the title of their grid: one grid a method, or one a span and score where it has several.

    ``baseline`` holds the unsteered dev rate of each set by name (``target``, ``utility/...``).
    """
    grids: dict[tuple[str, ...], list[GridCell]] = {}
    for method in in_order(_AXES):
        for cell in cells:
            if cell.method == method:
                apart = (f"{name} {plain(cell.cell[name])}" for name in _APART if name in cell.cell)
                grids.setdefault((method, *apart), []).append(cell)
    return {
        ", ".join(grid): [_figure(grid, name, found, baseline) for name in _sets(found)]
        for grid, found in grids.items()
        if _sets(found)
    }


def _figure(grid: tuple[str, ...], name: str, cells: Sequence[GridCell], baseline: Mapping[str, float]) -> Figure:
    method, *apart = grid
    axes = _AXES[method]
    across, down = (sorted({cell.cell[axis] for cell in cells}) for axis in axes)
    z: list[list[float | None]] = [[None] * len(across) for _ in down]
    judged = [cell for cell in cells if name in cell.by_set]
    for cell in judged:
        z[down.index(cell.cell[axes[1]])][across.index(cell.cell[axes[0]])] = 100 * cell.by_set[name]
    picked = next((cell for cell in cells if cell.picked), None)
    best = max(judged, key=lambda cell: cell.by_set[name])
    return Figure(
        key="-".join(["grid", method, *(part.split()[-1].replace("+", "-") for part in apart), name.replace("/", "-")]),
        title=set_title(name),
        caption=_caption(name, baseline, picked, empty=len(judged) < len(cells)),
        alt=(
            f"Grid of {axes[1]} by {axes[0]} for {', '.join(grid)}: {set_title(name)} on dev in percent, highest "
            f"{percent(best.by_set[name])} at {axes[0]} {plain(best.cell[axes[0]])}, {axes[1]} "
            f"{plain(best.cell[axes[1]])}" + (f"; picked cell {percent(picked.by_set[name])}." if picked else ".")
        ),
        spec=to_spec(
            [_squares(z), _values(z)],
            _ticks(axes[0], across),
            _ticks(axes[1], down),
            height=64 + 34 * max(3, len(down)),
            margin={"r": 8},
            shapes=[_outline(across.index(picked.cell[axes[0]]), down.index(picked.cell[axes[1]]))] if picked else [],
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
    """Each cell's rate as text that stands out from its square."""
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


def _ticks(title: str, values: Sequence[Any]) -> Json:
    return {
        "title": title,
        "tickvals": list(range(len(values))),
        "ticktext": [plain(value) for value in values],
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
    where = "Outlined: the picked cell." if picked else "The picked cell is elsewhere."
    left_out = " Empty: not judged, the prefill foretold less of it." if empty else ""
    return f"Rate on dev, %. {unsteered}{where}{left_out}"
