"""Refuse a run at once if it could not work here."""

import os
from collections.abc import Iterator

from mascing.commands.surroundings.folders import refuse_unusable_folders, replacement
from mascing.tasks.guarding.leftovers import end, leftovers


def ready() -> Iterator[str]:
    """Check the folders and services of a run, and yield what it does otherwise here than elsewhere.

    Ends what killed runs left behind. Raises MascingError for the first that a run could not work with: a folder that
    cannot be written, settings of Prefect that cannot be read, a Prefect server or a Ray cluster that does not answer.
    """
    if left := leftovers():
        end(left)
        yield f"note: ended {len(left)} processes that a killed run left behind"
    refuse_unusable_folders(os.environ)
    folder = replacement(os.environ)
    if folder:
        yield f"note: {instead(folder)}"
    from mascing.flows.prefect_server import server_version
    from mascing.tasks.running.cluster import refuse_absent_cluster

    server_version()
    refuse_absent_cluster()


def instead(folder: str) -> str:
    """Where files of the home folder go, in words."""
    return f"the home folder cannot be written, so {folder} stands in for it: set HOME, or PREFECT_HOME and HF_HOME"
