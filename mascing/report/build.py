"""Build `report/index.html` under a storage URL."""

from mascing.report.page import render
from mascing.report.reading import read_evidence
from mascing.storage.object_storage import Storage

PAGE = "report/index.html"


def build_report(storage: Storage) -> str:
    """Write the report of the last run under ``storage`` and return its location.

    The page contains its style, scripts and plots and loads nothing. Equal runs give equal pages except for timings.
    Raises DataError if there is no finished run, StorageError if one of its files is missing or damaged.
    """
    storage.overwrite(PAGE, render(read_evidence(storage)).encode())
    return storage.locate(PAGE)
