"""The page of a campaign: its grid, uplift and cost, the ranking of methods, every cell, and what failed."""

from collections.abc import Mapping, Sized
from typing import Any

from mascing.campaigns.folder import CampaignFolder
from mascing.campaigns.leaderboard import Board, leaderboard
from mascing.prose import counted
from mascing.report.figures.campaign_figures import grid_figure, ranking_figure, tradeoff_figure
from mascing.report.figures.figure import Table
from mascing.report.filling import filled
from mascing.report.looks import in_order
from mascing.report.wording import duration, percent, points, unknown
from mascing.runs.run_folder import RUNS
from mascing.schemas.campaign import StageSeconds
from mascing.schemas.result import Corrected

_LEAST_SHOWN = 1e-4
_TO_ROOT = "../.."


def campaign_page(folder: CampaignFolder, board: Board, seconds: Mapping[str, StageSeconds]) -> str:
    """Render the page as HTML; ``seconds`` are those of finished stages, by the prefix of their output."""
    rows = leaderboard(board).to_pylist()
    methods = in_order(board.methods)
    passed = {method: _passed(rows, method) for method in methods}
    return filled(
        "campaign.html.jinja",
        folder=folder,
        board=board,
        title=board.campaign.config.name,
        sizes=_sizes(board),
        grids=[figure for method in methods if (figure := grid_figure(board, method))],
        tradeoff=tradeoff_figure(board),
        ranking=ranking_figure(board.ranking(), passed, len(board.campaign.config.seeds)),
        cells=_cells(rows),
        papers=_papers(board, rows),
        runs=_runs(board),
        times=_times(seconds),
        state=_state(board),
    )


def _sizes(board: Board) -> str:
    config = board.campaign.config
    sizes: dict[str, Sized] = {
        "model": config.models,
        "behaviour": config.behaviours,
        "method": config.methods,
        "seed": config.seeds,
    }
    return ", ".join(counted(len(parts), noun) for noun, parts in sizes.items())


def _state(board: Board) -> str:
    """How many cells are there, in a sentence."""
    done = f"{board.finished} of {board.planned} cells are there"
    failed = len(board.failed)
    return f"{done}, and {failed} {'run or method' if failed == 1 else 'runs or methods'} failed" if failed else done


def _passed(rows: list[dict[str, Any]], method: str) -> tuple[int, int]:
    cells = [row for row in rows if row["method"] == method and row["state"] == "finished"]
    return sum(row["decision"] == "pass" for row in cells), len(cells)


def _cells(rows: list[dict[str, Any]]) -> Table | None:
    finished = [row for row in rows if row["state"] == "finished"]
    if not finished:
        return None
    columns = (
        *(
            "Behaviour",
            "Model",
            "Seed",
            "Method",
            "Uplift",
            "Corrected uplift",
            "Over seeds",
            "Utility",
            "Protected",
            "Unscored",
        ),
        *("Decision", "Replies", "Tokens a reply", "Judges, USD", "p", "Holm p", "Holm p, control"),
    )
    return Table("Every cell; differences in percentage points with 95% intervals", columns, tuple(map(_row, finished)))


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    spread = "–"
    if row["finished_seeds"] > 1:
        spread = f"{points(row['uplift_mean'])}\n{points(row['uplift_least'])} to {points(row['uplift_most'])}"
    return (
        row["behaviour"],
        row["model"],
        str(row["seed"]),
        row["method"] + ("\npublished" if row["published"] else ""),
        _change(row, "uplift"),
        _corrected(row),
        spread,
        _change(row, "utility"),
        _change(row, "protected"),
        str(row["unscored"]),
        row["decision"],
        f"{row['replies']:,}",
        "–" if row["tokens_per_reply"] is None else f"{row['tokens_per_reply']:.1f}",
        "–" if row["judge_cost"] is None else f"{row['judge_cost']:.2f}",
        *(_p(row[name]) for name in ("p", "holm_p", "holm_p_control")),
    )


def _change(row: dict[str, Any], name: str) -> str:
    if row[name] is None:
        return "–"
    return f"{points(row[name])}\n{points(row[f'{name}_low'])} to {points(row[f'{name}_high'])}"


def _corrected(row: dict[str, Any]) -> str:
    if row["uplift_corrected"] is None:
        return "–"
    value, low, high = (row[f"uplift_corrected{end}"] for end in ("", "_low", "_high"))
    return unknown(Corrected(value=value, low=low, high=high), -1) or _change(row, "uplift_corrected")


def _papers(board: Board, rows: list[dict[str, Any]]) -> Table | None:
    """What papers report, and our means over seeds beside it; over models as well where the paper's number is."""
    told = []
    for number in board.campaign.config.published:
        mine = [
            row
            for row in rows
            if row["state"] == "finished"
            and (row["behaviour"], row["method"]) == (number.behaviour, number.method)
            and number.model in (None, row["model"])
        ]
        told.append(
            (
                number.behaviour,
                number.model or "mean over models",
                number.method,
                _rate(number.unsteered),
                _rate(number.steered),
                *(_rate(_mean(mine, name)) for name in ("unsteered", "target_rate")),
                number.source,
            )
        )
    columns = ("Behaviour", "Model", "Method", "Paper, unsteered", "Paper, steered", "Here, unsteered", "Here, steered")
    return Table("Target rates beside those that papers report", (*columns, "Source"), tuple(told)) if told else None


def _mean(rows: list[dict[str, Any]], name: str) -> float | None:
    return sum(row[name] for row in rows) / len(rows) if rows else None


def _rate(value: float | None) -> str:
    return "–" if value is None else percent(value)


def _runs(board: Board) -> list[dict[str, Any]]:
    """Every run with the address of its page, and why it or a method of it failed."""
    found = []
    for run in board.campaign.runs:
        cells = [cell for method in board.methods if (cell := board.cell(run, method))]
        reasons = [f"{method}: {why}" if method else why for of, method, why in board.failed if of.name == run.name]
        page = f"{_TO_ROOT}/{RUNS}/{cells[0].run}/report/index.html" if cells else None
        found.append({"run": run, "page": page, "reasons": reasons})
    return found


def _times(seconds: Mapping[str, StageSeconds]) -> Table | None:
    """Seconds of finished stages by model; a stage that several runs share is there once."""
    totals: dict[str, dict[str, float]] = {}
    for each in seconds.values():
        of_model = totals.setdefault(each.model, {})
        of_model[each.stage] = of_model.get(each.stage, 0.0) + each.seconds
    if not totals:
        return None
    stages = list(dict.fromkeys(each.stage for each in seconds.values()))
    rows = tuple(
        (
            model,
            *(duration(of_model[stage]) if stage in of_model else "–" for stage in stages),
            duration(sum(of_model.values())),
        )
        for model, of_model in totals.items()
    )
    return Table("Time by model and stage, of the attempts that finished a stage", ("Model", *stages, "All"), rows)


def _p(value: float | None) -> str:
    if value is None:
        return "–"
    return f"<\N{NO-BREAK SPACE}{_LEAST_SHOWN:g}" if value < _LEAST_SHOWN else f"{value:.2g}"
