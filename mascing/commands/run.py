"""`mascing run`: the whole line for a configuration of one's own."""

from typing import Annotated

import typer

from mascing.commands.options import DEFAULT_STORAGE, StorageOption, VerboseOption, storage_option


def run(
    config: Annotated[str, typer.Argument(metavar="CONFIG.yaml", help="Model, behaviour, methods and gates.")],
    storage: StorageOption = DEFAULT_STORAGE,
    allow_confounded: Annotated[
        bool,
        typer.Option("--allow-confounded", help="Go on where the form of the conversations explains a surrogate."),
    ] = False,
    allow_unpublishable: Annotated[
        bool,
        typer.Option("--allow-unpublishable", help="Go on where no mask can pass the gates, to look at the results."),
    ] = False,
    verbose: VerboseOption = False,
) -> None:
    """Make, prove and publish masks for one model and one behaviour.

    Begins with what `mascing check` finds, and stops at once if the run cannot work or no mask can pass its gates.
    Finished stages are kept: started again with the same configuration, it goes on where it was stopped. Each run
    has a folder of its own, runs/RUN under the storage URL, with result.json, report/index.html and the run.yaml that
    it used; `mascing demo` leaves one to start from. index.html lists all runs.

    Examples:

      mascing run run.yaml

      mascing run run.yaml --storage s3://bucket/mascing
    """
    from rich.console import Console

    from mascing.commands.check import refuse_doomed
    from mascing.commands.line import run_flow
    from mascing.config import load_config
    from mascing.flows.starting import Line
    from mascing.storage.object_storage import Storage

    loaded = load_config(config)
    if allow_confounded:
        loaded = loaded.model_copy(update={"surrogate": loaded.surrogate.model_copy(update={"allow_confounded": True})})
    if allow_unpublishable:
        loaded = loaded.model_copy(update={"allow_unpublishable": True})
    opened = Storage.open(storage)
    refuse_doomed(Console(), opened, loaded)

    def flow() -> str:
        from mascing.flows.reconfigure import reconfigure

        return str(reconfigure(loaded, opened.url))

    def finished() -> str:
        from mascing.flows.finished_line import finished_run

        return finished_run(loaded, opened.url)

    run_flow(opened, Line(flow, finished), verbose, storage_option(storage))
