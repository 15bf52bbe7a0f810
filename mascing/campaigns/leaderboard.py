"""The leaderboard of a campaign: a table of its cells that depends on nothing but the cells and their plan."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from mascing.campaigns.ranking import Measured, Ranked, ranked
from mascing.evidence.corrections import corrected_change
from mascing.evidence.results import CONTROL
from mascing.judges.calibrations.calibration import calibration_of
from mascing.schemas.calibration import Calibration
from mascing.schemas.campaign import Campaign, CellResult, FailedRun, PlannedRun
from mascing.schemas.result import Rate
from mascing.schemas.tables import LEADERBOARD, RANKING
from mascing.statistics import holm

Row = dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What came of a run so far: its finished cells by method, and why it or some of its methods failed."""

    cells: Mapping[str, CellResult] = field(default_factory=dict)
    failed: FailedRun | None = None


@dataclass(frozen=True)
class Board:
    """A campaign and what came of its runs, by their names; a run that was not tried yet is missing."""

    campaign: Campaign
    outcomes: Mapping[str, Outcome]

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods of the campaign, the control last."""
        return (*self.campaign.methods, CONTROL)

    @property
    def planned(self) -> int:
        """The number of cells; those of the control come with the others and do not count."""
        return len(self.campaign.runs) * len(self.campaign.methods)

    @property
    def finished(self) -> int:
        """How many of them are there."""
        return sum(method in outcome.cells for outcome in self.outcomes.values() for method in self.campaign.methods)

    @property
    def failed(self) -> list[tuple[PlannedRun, str, str]]:
        """The failed cells: run, method and reason; the method is empty if the whole run failed."""
        return list(self._failures())

    def cell(self, run: PlannedRun, method: str) -> CellResult | None:
        """The result of a cell, if it is there."""
        return self.outcomes.get(run.name, Outcome()).cells.get(method)

    def reason(self, run: PlannedRun, method: str) -> str | None:
        """Why a cell failed, if it did."""
        failed = self.outcomes.get(run.name, Outcome()).failed
        return None if failed is None or self.cell(run, method) else failed.methods.get(method, failed.reason)

    def ranking(self) -> list[Ranked]:
        """The methods over all models and behaviours, the best mean rank first."""
        tasks: dict[tuple[str, str], dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
        for run in self.campaign.runs:
            for method in self.methods:
                if cell := self.cell(run, method):
                    tasks[run.model, run.behaviour][method].append(Measured(cell.uplift, cell.groups))
        return ranked(list(tasks.values()))

    def _failures(self) -> Iterator[tuple[PlannedRun, str, str]]:
        for run in self.campaign.runs:
            failed = self.outcomes.get(run.name, Outcome()).failed
            if failed is not None and failed.reason is not None:
                yield run, "", failed.reason
            elif failed is not None:
                yield from ((run, method, reason) for method, reason in failed.methods.items())


def leaderboard(board: Board) -> pa.Table:
    """The LEADERBOARD table (schemas/tables.py), one row per planned cell."""
    places = [(run, method) for run in board.campaign.runs for method in board.methods]
    cells = {(run.name, method): cell for run, method in places if (cell := board.cell(run, method))}
    adjusted = _adjusted(board, cells)
    spread = _spread([(run, method, cells[run.name, method]) for run, method in places if (run.name, method) in cells])
    papers = {(number.model, number.behaviour, number.method): number for number in board.campaign.config.published}
    calibrations = _calibrations(board.campaign)
    rows = []
    for run, method in places:
        row: Row = {"model": run.model, "behaviour": run.behaviour, "method": method, "seed": run.seed}
        paper = papers.get((run.model, run.behaviour, method))
        if paper is not None:
            row |= {"paper_unsteered": paper.unsteered, "paper_steered": paper.steered, "paper": paper.source}
        cell, reason = board.cell(run, method), board.reason(run, method)
        if cell is None:
            rows.append(row | {"state": "failed" if reason else "waiting", "reason": reason})
            continue
        of_seeds = spread[run.model, run.behaviour, method]
        without_error = corrected_change(cell.uplift, calibrations[run.name]).corrected
        row |= _columns("uplift_corrected", without_error) if without_error else {}
        rows.append(row | _numbers(cell) | of_seeds | {key: adjusted.get((run.name, method, key)) for key in _HOLM})
    return pa.Table.from_pylist(rows, schema=LEADERBOARD)


def ranking_table(board: Board) -> pa.Table:
    """The RANKING table (schemas/tables.py)."""
    cells = [(method, cell) for outcome in board.outcomes.values() for method, cell in outcome.cells.items()]
    rows = [
        {
            "method": each.method,
            **_columns("mean_rank", each.rank),
            **_columns("mean_uplift", each.uplift),
            "best": each.best,
            "passed": sum(cell.gate == "pass" for method, cell in cells if method == each.method),
            "cells": sum(method == each.method for method, _ in cells),
            "tasks": each.tasks,
        }
        for each in board.ranking()
    ]
    return pa.Table.from_pylist(rows, schema=RANKING)


def _calibrations(campaign: Campaign) -> dict[str, Calibration | None]:
    """The calibration of the target's judge, by run; each judge's is read once."""
    judges = {run.name: run.config.behaviour.judge_of("target") for run in campaign.runs}
    found = {judge.model_dump_json(): judge for judge in judges.values()}
    read = {key: calibration_of(judge) for key, judge in found.items()}
    return {name: read[judge.model_dump_json()] for name, judge in judges.items()}


_HOLM = ("holm_p", "holm_p_control")


def _adjusted(board: Board, cells: Mapping[tuple[str, str], CellResult]) -> dict[tuple[str, str, str], float]:
    """The p-values of all comparisons, with the unsteered model and with the control, after Holm's adjustment.

    A planned comparison without a result counts as one with p = 1, so that no value grows as the campaign fills.
    """
    raw: dict[tuple[str, str, str], float] = {}
    for run in board.campaign.runs:
        for method in board.methods:
            place = (run.name, method)
            cell = cells.get(place)
            raw[*place, "holm_p"] = 1.0 if cell is None else cell.p
            if method != CONTROL:
                raw[*place, "holm_p_control"] = 1.0 if cell is None or cell.p_control is None else cell.p_control
    adjusted = holm(raw)
    return {key: value for key, value in adjusted.items() if _was_compared(cells.get(key[:2]), key[2])}


def _was_compared(cell: CellResult | None, column: str) -> bool:
    return cell is not None and (column == "holm_p" or cell.p_control is not None)


def _spread(cells: Sequence[tuple[PlannedRun, str, CellResult]]) -> dict[tuple[str, str, str], Row]:
    """The uplift over the seeds of each model, behaviour and method."""
    uplifts: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for run, method, cell in cells:
        uplifts[run.model, run.behaviour, method].append(cell.uplift.value)
    return {
        place: {
            "uplift_mean": sum(values) / len(values),
            "uplift_least": min(values),
            "uplift_most": max(values),
            "finished_seeds": len(values),
        }
        for place, values in uplifts.items()
    }


def _numbers(cell: CellResult) -> Row:
    row: Row = {
        "state": "finished",
        "checkpoint": cell.checkpoint,
        "run": cell.run,
        "conversations": cell.uplift.n,
        **_columns("unsteered", cell.unsteered),
        **_columns("target_rate", cell.target_rate),
        **_columns("uplift", cell.uplift),
        "unscored": cell.unscored,
        "decision": cell.gate,
        "published": cell.published,
        "replies": cell.cost.replies,
        "tokens_per_reply": cell.cost.tokens_per_reply,
        "judge_cost": cell.cost.judge_cost,
        "p": cell.p,
        "p_control": cell.p_control,
    }
    for kind in ("utility", "protected"):
        if (worst := worst_change(cell, kind)) is not None:
            row |= {f"{kind}_set": worst[0], **_columns(kind, worst[1])}
    return row


def worst_change(cell: CellResult, kind: str) -> tuple[str, Rate] | None:
    """The set of this kind that changes for the worst, and its change; None if there is no such set."""
    changes = {name: change for name, change in cell.changes.items() if name.startswith(f"{kind}/")}
    return min(changes.items(), key=lambda item: (item[1].value, item[0])) if changes else None


def _columns(name: str, value: Any) -> Row:
    return {name: value.value, f"{name}_low": value.low, f"{name}_high": value.high}
