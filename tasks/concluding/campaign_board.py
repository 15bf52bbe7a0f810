"""What came of the runs of a campaign so far: found in storage, and written as its leaderboard and page."""

from collections.abc import Mapping

from mascing.campaigns import folder as stored
from mascing.campaigns.folder import CampaignFolder
from mascing.campaigns.leaderboard import Board, Outcome, leaderboard, ranking_table
from mascing.evidence.results import CONTROL
from mascing.report.build import build_campaign, build_index
from mascing.runs.finished_run import read_result
from mascing.runs.run_folder import RunFolder
from mascing.schemas.campaign import CellResult, FailedRun, PlannedRun
from mascing.storage import parquet
from mascing.storage.object_storage import Storage
from mascing.tasks.concluding.cells import cells_of


def outcome_of(
    storage: Storage, home: CampaignFolder, run: PlannedRun, folder: RunFolder, failed: FailedRun | None
) -> Outcome:
    """What came of a finished run; its cells are kept. ``failed`` says which methods it had to do without.

    A run that left too little to learn from has no cells.
    """
    without = set(failed.methods) if failed else set()
    methods = [name for name in (*run.config.methods.searched, CONTROL) if name not in without]
    cells = {name: cell for name in methods if (cell := stored.read_cell(storage, home, folder.name, name))}
    if len(cells) < len(methods):
        cells = _kept(storage, home, folder, cells)
    if not cells:
        failed = FailedRun(reason="; ".join(read_result(storage, folder).lacking))
    return Outcome(cells, failed)


def keep_outcome(storage: Storage, home: CampaignFolder, run: PlannedRun, outcome: Outcome) -> None:
    """Write why a run failed, or that it did not."""
    if outcome.failed is not None:
        stored.keep_failure(storage, home, run, outcome.failed)
    else:
        stored.forget_failure(storage, home, run)


def write_board(storage: Storage, home: CampaignFolder, board: Board) -> None:
    """Write leaderboard, ranking and page, and the index of all runs and campaigns."""
    storage.overwrite(home.leaderboard, parquet.to_bytes(leaderboard(board)))
    storage.overwrite(home.ranking, parquet.to_bytes(ranking_table(board)))
    build_campaign(storage, home, board)
    build_index(storage)


def _kept(
    storage: Storage, home: CampaignFolder, folder: RunFolder, there: Mapping[str, CellResult]
) -> dict[str, CellResult]:
    """The cells of a run by method. Those not ``there`` are kept now: what they cost is told only while replies are."""
    missing = {cell.method: cell for cell in cells_of(storage, folder) if cell.method not in there}
    for cell in missing.values():
        stored.keep_cell(storage, home, cell)
    return {**missing, **there}
