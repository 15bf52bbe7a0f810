"""Build the pages under a storage URL: one in each run's folder, and the index of all at the root."""

from mascing.campaigns.folder import CampaignFolder, read_seconds
from mascing.campaigns.leaderboard import Board
from mascing.report.audit_page import audit_page
from mascing.report.campaign_page import campaign_page
from mascing.report.index_page import render_index
from mascing.report.page import render
from mascing.report.reading import read_evidence
from mascing.runs.finished_run import read_audit
from mascing.runs.run_folder import INDEX, StoredRun, find_run
from mascing.storage.object_storage import Storage
from mascing.storage.sealing import seal_text


def build_report(storage: Storage, name: str | None = None) -> str:
    """Write the page of a run or audit, by default of the latest, and return its location.

    The page contains its style, scripts and plots and loads nothing. Equal runs give equal pages except for times.
    Raises DataError if there is no such run, StorageError if one of its files is missing or damaged.
    """
    run = find_run(storage, name)
    storage.overwrite(run.folder.page, seal_text(_page(storage, run), ".html"))
    return storage.locate(run.folder.page)


def build_campaign(storage: Storage, folder: CampaignFolder, board: Board) -> str:
    """Write the page of a campaign and return its location; it loads nothing and links to the pages of its runs."""
    storage.overwrite(folder.page, seal_text(campaign_page(folder, board, read_seconds(storage, folder)), ".html"))
    return storage.locate(folder.page)


def build_index(storage: Storage) -> str:
    """Write `index.html`, which lists all runs, channels and masks under ``storage``, and return its location.

    It is rebuilt from what is stored. If several runs end at once, each lists again until no other wrote in between, so
    none is missing in the end.
    """
    storage.update(INDEX, lambda _: seal_text(render_index(storage), ".html"))
    return storage.locate(INDEX)


def _page(storage: Storage, run: StoredRun) -> str:
    if run.is_audit:
        # Audits of earlier versions kept no configuration.
        again = run.again if storage.exists(run.folder.config) else None
        return audit_page(read_audit(storage, run.folder), run.written, again)
    return render(read_evidence(storage, run))
