"""A campaign at a glance: uplift by model and behaviour, uplift against cost, and the ranking of methods."""

from collections.abc import Mapping, Sequence

from mascing.campaigns.leaderboard import Board, worst_change
from mascing.campaigns.ranking import Estimate, Ranked
from mascing.prose import counted
from mascing.report.figures.figure import Figure, Json, Table, legend_below, to_spec
from mascing.report.figures.palette import DIVERGING, error_bars, marker, ringed_marker
from mascing.report.looks import in_order, looks_of
from mascing.report.wording import points_text
from mascing.schemas.campaign import CellResult
from mascing.schemas.result import Rate

_ONE_SEED = "With one seed, the scatter between seeds is in none of them. "
_PALE_BELOW = 65
"""Squares whose uplift, in points, is further from 0 are too dark (on a dark page too light) for text in ink."""


def grid_figure(board: Board, method: str) -> Figure | None:
    """The mean uplift of a method over its seeds, models by behaviours; None if no cell is there."""
    models, behaviours = list(board.campaign.config.models), list(board.campaign.config.behaviours)
    tasks = _by_task(board, method)
    if not tasks:
        return None
    told = {place: _told(cells) for place, cells in tasks.items()} | {
        (run.model, run.behaviour): "failed"
        for run in board.campaign.runs
        if board.reason(run, method) and (run.model, run.behaviour) not in tasks
    }
    uplifts = {place: 100 * _mean([cell.uplift for cell in cells]).value for place, cells in tasks.items()}
    z = [[uplifts.get((model, behaviour)) for behaviour in behaviours] for model in models]
    texts = [[told.get((model, behaviour)) for behaviour in behaviours] for model in models]
    numbers = "; ".join(
        f"{behaviour} on {model} {text.replace('<br>', ', ')}" for (model, behaviour), text in told.items()
    )
    return Figure(
        key=f"grid-{method}",
        title=method,
        caption=(
            "Uplift, and below it the change of the utility set that changes for the worst, in percentage points on "
            "the test split, with 95% intervals; of several seeds the means of values and bounds. Empty: no result yet."
        ),
        alt=f"Uplift of {method} by model and behaviour, in percentage points: {numbers}.",
        spec=to_spec(
            [_squares(z), _values(z, texts)],
            {"title": "", "tickvals": list(range(len(behaviours))), "ticktext": behaviours, "showgrid": False},
            {
                "title": "",
                "tickvals": list(range(len(models))),
                "ticktext": models,
                "showgrid": False,
                "autorange": "reversed",
            },
            height=72 + 76 * max(2, len(models)),
        ),
    )


def tradeoff_figure(board: Board) -> Figure | None:
    """Each finished cell: its uplift, and the change of the utility set that changes for the worst."""
    shown = [
        (method, cell, change[1])
        for run in board.campaign.runs
        for method in in_order(board.methods)
        if (cell := board.cell(run, method)) and (change := worst_change(cell, "utility"))
    ]
    if not shown:
        return None
    looks = looks_of({method for method, _, _ in shown})
    return Figure(
        key="uplift-cost",
        title="Utility against uplift",
        caption=(
            "One mark per cell, paired with the unsteered model, with 95% intervals: up and to the right is better. Of "
            "several utility sets, the one that changes for the worst."
        ),
        alt="Change of utility against uplift, cell by cell; the table of cells has the numbers.",
        spec=to_spec(
            [
                {
                    "type": "scatter",
                    "name": method,
                    "legendgroup": method,
                    "showlegend": all(before != method for before, _, _ in shown[:number]),
                    "x": [100 * cell.uplift.value],
                    "y": [100 * change.value],
                    "mode": "markers",
                    "marker": marker(looks[method]),
                    "error_x": error_bars(looks[method], cell.uplift),
                    "error_y": error_bars(looks[method], change),
                    "hovertemplate": f"{method}<br>uplift {points_text(cell.uplift)}<br>"
                    f"utility {points_text(change)}<extra></extra>",
                }
                for number, (method, cell, change) in enumerate(shown)
            ],
            {"title": "target uplift, percentage points"},
            {"title": "utility change, percentage points"},
            height=420,
            margin={"b": 84},
            legend=legend_below(0.2),
        ),
        wide=True,
    )


def ranking_figure(ranking: Sequence[Ranked], passed: Mapping[str, tuple[int, int]], seeds: int) -> Figure | None:
    """Mean ranks with their intervals; ``passed`` counts the cells that pass their gates, of how many, by method.

    ``seeds`` are those of the campaign. A rank that is the same in every sample has no interval.
    """
    if not ranking:
        return None
    looks = looks_of(each.method for each in ranking)
    rows = tuple(
        (
            each.method,
            _rank(each.rank),
            points_text(Rate(value=each.uplift.value, low=each.uplift.low, high=each.uplift.high, n=0, unscored=0)),
            f"{100 * each.best:.0f}%",
            f"{passed[each.method][0]} of {passed[each.method][1]}",
        )
        for each in ranking
    )
    columns = ("Method", "Mean rank", "Mean uplift, points", "Highest uplift in", "Passes its gates in")
    return Figure(
        key="ranking",
        title="Mean rank by uplift",
        caption=(
            f"Over {counted(ranking[0].tasks, 'pair')} of a model and a behaviour that all methods finished; 1 is the "
            "best. 95% intervals: of ranks by a bootstrap over groups of conversations and seeds, none where every "
            "sample has the same rank; of uplifts from those of the cells, and as wide as the bootstrap's at least if "
            f"there are several seeds. {_ONE_SEED if seeds == 1 else ''}An uplift says nothing of its price: see how "
            "often a method passes its gates."
        ),
        alt="Mean rank of the methods: " + "; ".join(f"{row[0]} {row[1]}" for row in rows) + ".",
        spec=to_spec(
            [
                {
                    "type": "scatter",
                    "name": each.method,
                    "x": [each.rank.value],
                    "y": [each.method],
                    "mode": "markers",
                    "marker": ringed_marker(looks[each.method]),
                    "error_x": {
                        **error_bars(looks[each.method], Rate(value=0, low=0, high=0, n=0, unscored=0)),
                        "array": [each.rank.high - each.rank.value],
                        "arrayminus": [each.rank.value - each.rank.low],
                    },
                    "hovertemplate": f"{each.method}: {row[1]}<extra></extra>",
                }
                for each, row in zip(ranking, rows, strict=True)
            ],
            {"title": "mean rank, 1 is the best", "range": [0.8, len(ranking) + 0.2]},
            {"title": "", "autorange": "reversed", "type": "category", "showgrid": False},
            height=72 + 32 * len(ranking),
            showlegend=False,
        ),
        numbers=Table("Methods over all models and behaviours", columns, rows),
        wide=True,
    )


def _by_task(board: Board, method: str) -> dict[tuple[str, str], list[CellResult]]:
    tasks: dict[tuple[str, str], list[CellResult]] = {}
    for run in board.campaign.runs:
        if (cell := board.cell(run, method)) is not None:
            tasks.setdefault((run.model, run.behaviour), []).append(cell)
    return tasks


def _told(cells: Sequence[CellResult]) -> str:
    """The uplift over the seeds, and what it costs in utility, in two lines each."""
    lines = [_in_two_lines(_mean([cell.uplift for cell in cells]))]
    if costs := [change[1] for cell in cells if (change := worst_change(cell, "utility"))]:
        lines.append(f"utility {_in_two_lines(_mean(costs))}")
    return "<br>".join(lines)


def _in_two_lines(rate: Rate) -> str:
    return points_text(rate).replace(" (", "<br>(")


def _mean(rates: Sequence[Rate]) -> Rate:
    """The means of values and bounds."""
    value, low, high = (sum(getattr(rate, part) for rate in rates) / len(rates) for part in ("value", "low", "high"))
    return Rate(value=value, low=low, high=high, n=0, unscored=0)


def _rank(rank: Estimate) -> str:
    if rank.low == rank.high:
        return f"{rank.value:.2f}"
    return f"{rank.value:.2f} ({rank.low:.2f} to {rank.high:.2f})"


def _squares(z: Sequence[Sequence[float | None]]) -> Json:
    return {
        "type": "heatmap",
        "z": z,
        "zmin": -100,
        "zmax": 100,
        "colorscale": DIVERGING,
        "showscale": False,
        "xgap": 1,
        "ygap": 1,
        "hoverongaps": False,
        "hovertemplate": "%{z:+.1f} points<extra></extra>",
    }


def _values(z: Sequence[Sequence[float | None]], texts: Sequence[Sequence[str | None]]) -> Json:
    shown = [
        (x, y, text, z[y][x] or 0.0) for y, row in enumerate(texts) for x, text in enumerate(row) if text is not None
    ]
    return {
        "type": "scatter",
        "x": [x for x, *_ in shown],
        "y": [y for _, y, *_ in shown],
        "text": [text for _, _, text, _ in shown],
        "mode": "text",
        "textfont": {
            "size": 11,
            "color": ["var(--ink)" if abs(v) < _PALE_BELOW else "var(--surface)" for *_, v in shown],
        },
        "hoverinfo": "skip",
        "showlegend": False,
    }
