"""From a storage URL to `report/index.html` under it."""

from mascing.report.page import render
from mascing.report.reading import read_evidence
from mascing.storage.object_storage import Storage

PAGE = "report/index.html"


def build_report(storage: Storage) -> str:
    """Write the report of the last run under ``storage`` and return where it is.

    The page holds its style, scripts and plots and loads nothing. Equal runs give equal pages, timings apart.
    Raises DataError if there is no finished run, StorageError if what it left is gone or damaged.
    """
    storage.overwrite(PAGE, render(read_evidence(storage)).encode())
    return storage.locate(PAGE)
