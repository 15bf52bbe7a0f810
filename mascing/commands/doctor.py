"""`mascing doctor`: what is installed, what is missing, and how to get it."""

from typing import Annotated

import typer

from mascing.commands.options import DEFAULT_STORAGE, StorageOption
from mascing.prose import echo_prose


def doctor(
    storage: StorageOption = DEFAULT_STORAGE,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="MODEL", help="Whether the memory holds this folder, storage URL or hub id."),
    ] = None,
    clean: Annotated[
        bool, typer.Option("--clean", help="Only end, remove and release what killed runs left behind.")
    ] = False,
) -> None:
    """Show what is installed, what answers, and what is missing.

    Exits with 1 if a run could not work. Storage is probed by writing; Ray by starting it, or by joining the cluster
    of RAY_ADDRESS; Prefect by asking the server of PREFECT_API_URL, if there is one.

    Examples:

      mascing doctor --storage s3://bucket/mascing

      mascing doctor --model allenai/OLMoE-1B-7B-0125-Instruct

      mascing doctor --clean
    """
    if clean:
        _clean()
        return
    from mascing.commands.surroundings.findings import findings

    missing = 0
    for finding in findings(storage, model):
        missing += finding.status == "missing"
        echo_prose(f"{finding.status:<8} {finding.what:<12} {finding.message}")
    if missing:
        echo_prose(f"next: mend what is missing above ({missing}), then run mascing doctor again")
        raise typer.Exit(1)
    echo_prose("next: mascing demo")


def _clean() -> None:
    """End what killed runs left behind, here and on the Prefect server of the settings, and say what it was."""
    from mascing.tasks.guarding.leftovers import end, left_folders, leftovers
    from mascing.tasks.guarding.sessions import remove

    left, folders = leftovers(), left_folders()
    for process in left:
        echo_prose(f"ended    {process.pid:<12} {' '.join(process.cmdline())[:100]}")
    end(left)
    for folder in folders:
        remove(folder)
        echo_prose(f"removed  {folder}")
    released = _released()
    for each in released:
        echo_prose(f"released {each}")
    if not left and not folders and not released:
        echo_prose("no killed run left anything behind")
    echo_prose("next: mascing doctor")


def _released() -> list[str]:
    """Release stuck runs and orphaned slots of the named Prefect server, if one is named and answers."""
    from mascing.flows.prefect_server import server_version

    if server_version() is None:
        return []
    from mascing.flows.schedule.stuck_runs import release_found

    return [str(each) for each in release_found()]
