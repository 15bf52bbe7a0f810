"""All runs and audits under a storage URL with their numbers, for lists of them."""

from dataclasses import dataclass
from datetime import datetime

from mascing.errors import DataError
from mascing.runs.finished_run import read_audit, read_result
from mascing.runs.run_folder import RunFolder, StoredRun, stored_runs
from mascing.schemas.cards.suppression_curve import Audit
from mascing.schemas.result import Result
from mascing.storage.object_storage import Storage


@dataclass(frozen=True)
class ListedRun:
    """A run or audit, when it was last finished (UTC), and its numbers; both are None where none can be read."""

    folder: RunFolder
    written: datetime
    is_audit: bool
    result: Result | None
    audit: Audit | None


def listed_runs(storage: Storage) -> list[ListedRun]:
    """All finished runs and audits, the latest first; one that another version wrote is listed without its numbers."""
    return [_listed(storage, run) for run in stored_runs(storage)]


def _listed(storage: Storage, run: StoredRun) -> ListedRun:
    result, audit = None, None
    try:
        if run.is_audit:
            audit = read_audit(storage, run.folder)
        else:
            result = read_result(storage, run.folder)
    except DataError:  # of another version, or deleted since it was listed: the others must still be shown
        pass
    return ListedRun(run.folder, run.written, run.is_audit, result, audit)
