"""`mascing report`: write the page of the last run again."""

import typer

from mascing.commands.options import DEFAULT_STORAGE, StorageOption


def report(storage: StorageOption = DEFAULT_STORAGE) -> None:
    """Write report/index.html of the last run under the storage URL again.

    Examples:

      mascing report

      mascing report --storage s3://bucket/mascing
    """
    from mascing.report import build_report
    from mascing.storage import Storage

    page = build_report(Storage.open(storage))
    typer.echo(f"next: open {page}")
