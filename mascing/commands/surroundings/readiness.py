"""Refuse a run at once if it could not work here."""

import os
from collections.abc import Iterator

from mascing.commands.surroundings.folders import moved, refuse_unusable_folders


def ready() -> Iterator[str]:
    """Yield what a run does otherwise here than elsewhere, then check its folders and services.

    Raises MascingError for the first that a run could not work with: a folder that cannot be written, settings of
    Prefect that cannot be read, a Prefect server or a Ray cluster that does not answer.
    """
    folders = moved(os.environ)
    if folders:
        yield f"note: the home folder cannot be written; {told(folders)} instead"
    refuse_unusable_folders(os.environ)
    from mascing.flows.prefect_server import server_version
    from mascing.tasks.running.cluster import refuse_absent_cluster

    server_version()
    refuse_absent_cluster()


def told(folders: dict[str, str]) -> str:
    """The replaced folders in words."""
    return ", ".join(f"{name} is {folder}" for name, folder in folders.items())
