"""`mascing report` and `mascing runs`: write the page of a run again, and list the runs."""

from typing import Annotated

import typer

from mascing.commands.options import DEFAULT_STORAGE, StorageOption, storage_option
from mascing.prose import echo_prose


def report(
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", help="Name of the run; by default the latest.")] = None,
    storage: StorageOption = DEFAULT_STORAGE,
) -> None:
    """Write the page of a run or audit again, and the index of all.

    The page is runs/RUN/report/index.html under the storage URL, the index index.html. Each is one file that loads
    nothing from anywhere. `mascing runs` lists the names.

    Examples:

      mascing report

      mascing report jailbreak-defence-olmoe-0123456789abcdef --storage s3://bucket/mascing
    """
    from mascing.report import build_index, build_report
    from mascing.runs.run_folder import find_run
    from mascing.storage.object_storage import Storage

    opened = Storage.open(storage)
    name = find_run(opened, run).folder.name
    page, index = build_report(opened, name), build_index(opened)
    typer.echo(f"run: {name}")
    typer.echo(f"index: {index}")
    echo_prose(f"next: open {page}")


def runs(storage: StorageOption = DEFAULT_STORAGE) -> None:
    """List the finished runs and audits, the latest first. A run is named by behaviour, model and fingerprint.

    Example:

      mascing runs --storage s3://bucket/mascing
    """
    from mascing.commands.outcomes.tables import print_table
    from mascing.runs.listing import ListedRun, listed_runs
    from mascing.storage.object_storage import Storage

    def row(run: ListedRun) -> tuple[str, ...]:
        when = f"{run.written:%Y-%m-%d %H:%M} UTC"
        if run.result:
            return run.folder.name, run.result.published or "nothing", when
        if run.audit:
            return run.folder.name, "(an audit)", when
        return run.folder.name, "(of another version)", when

    opened = Storage.open_to_read(storage)
    listed = listed_runs(opened)
    if not listed:
        echo_prose(f"no run is finished under {opened.url}")
        echo_prose("next: mascing run CONFIG.yaml, or mascing demo")
        return
    print_table(("run", "published", "when"), [row(run) for run in listed])
    echo_prose(f"next: write the page of one again: mascing report {listed[0].folder.name}{storage_option(storage)}")
