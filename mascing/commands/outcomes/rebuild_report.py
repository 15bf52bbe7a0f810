"""`mascing report` and `mascing runs`: write the page of a run again, and list the runs."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich import filesize

from mascing.commands.options import DEFAULT_STORAGE, StorageOption, storage_option
from mascing.prose import echo_prose

if TYPE_CHECKING:
    from mascing.runs.listing import ListedRun
    from mascing.runs.run_folder import StoredRun
    from mascing.runs.stored_collections import StoredCollection
    from mascing.storage.object_storage import Storage


def report(
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", help="Name of the run; by default the latest.")] = None,
    inspect_log: Annotated[
        str | None,
        typer.Option(metavar="FOLDER", help="Also write the run's judged replies as logs of Inspect, one per method."),
    ] = None,
    storage: StorageOption = DEFAULT_STORAGE,
) -> None:
    """Write the page of a run or audit again, and the index of all.

    The page is runs/RUN/report/index.html under the storage URL, the index index.html. Each is one file that loads
    nothing from anywhere. `mascing runs` lists the names. `--inspect-log` needs pip install 'mascing[inspect]'.

    Examples:

      mascing report

      mascing report jailbreak-defence-olmoe-0123456789abcdef --storage s3://bucket/mascing

      mascing report --inspect-log logs
    """
    from mascing.report import build_index, build_report
    from mascing.runs.run_folder import find_run
    from mascing.storage.object_storage import Storage

    opened = Storage.open(storage)
    stored = find_run(opened, run)
    name = stored.folder.name
    logs = [] if inspect_log is None else _logs(opened, stored, inspect_log)
    page, index = build_report(opened, name), build_index(opened)
    typer.echo(f"run: {name}")
    typer.echo(f"index: {index}")
    for log in logs:
        typer.echo(f"log: {log}")
    look = f"inspect view --log-dir {inspect_log}" if logs else f"open {page}"
    echo_prose(f"next: {look}")


def _logs(storage: "Storage", run: "StoredRun", folder: str) -> list[str]:
    from mascing.harnesses.extras import require

    require("inspect")
    from mascing.harnesses.inspect_ai.run_logs import write_logs

    return write_logs(storage, run, folder)


def runs(storage: StorageOption = DEFAULT_STORAGE) -> None:
    """List the finished runs and audits, the campaigns, and the collections of `mascing harvest`, the latest first.

    A run is named by behaviour, model and fingerprint, a collection by its conversations and fingerprint.

    Example:

      mascing runs --storage s3://bucket/mascing
    """
    from mascing.campaigns.listing import listed_campaigns
    from mascing.commands.outcomes.tables import print_table
    from mascing.runs.listing import listed_runs
    from mascing.runs.stored_collections import stored_collections
    from mascing.storage.object_storage import Storage

    opened = Storage.open_to_read(storage)
    listed, collections = listed_runs(opened), stored_collections(opened)
    if listed:
        print_table(("run", "published", "when"), [_run_row(run) for run in listed])
    else:
        echo_prose(f"no run is finished under {opened.url}")
    if campaigns := listed_campaigns(opened):
        rows = [(each.folder.name, each.progress, _time(each.written)) for each in campaigns]
        print_table(("campaign", "progress", "when"), rows)
    if collections:
        headings = ("collection", "model", "conversations", "size", "when")
        print_table(headings, [_collection_row(opened, collection) for collection in collections])
    if listed:
        again = f"mascing report {listed[0].folder.name}{storage_option(storage)}"
        echo_prose(f"next: write the page of one again: {again}")
    elif collections:
        echo_prose(f"next: look at a collection: mascing traces show {opened.locate(collections[0].prefix)}")
    else:
        echo_prose("next: mascing run CONFIG.yaml, or mascing demo")


def _run_row(run: "ListedRun") -> tuple[str, ...]:
    if run.result:
        return run.folder.name, run.result.published or "nothing", _time(run.written)
    return run.folder.name, "(an audit)" if run.audit else "(of another version)", _time(run.written)


def _collection_row(storage: "Storage", collection: "StoredCollection") -> tuple[str, ...]:
    from mascing.runs.stored_collections import manifest_of

    manifest = manifest_of(storage, collection)
    if manifest is None:
        return collection.name, "(of another version)", "", "", _time(collection.written)
    facts = manifest.facts
    model = f"{facts.spec.family} {len(facts.spec.layer_ids)} x {facts.spec.n_experts}"
    size = filesize.decimal(sum(shard.bytes for shard in manifest.shards if shard.path is not None))
    return collection.name, model, f"{facts.samples:,}", size, _time(collection.written)


def _time(when: datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M} UTC"
