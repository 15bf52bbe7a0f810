"""`mascing report`: write the page of the last run again."""

import typer

from mascing.commands.options import DEFAULT_STORAGE, StorageOption


def report(storage: StorageOption = DEFAULT_STORAGE) -> None:
    """Write the page of the last run again.

    It is report/index.html under the storage URL: one file that loads nothing from anywhere.

    Examples:

      mascing report

      mascing report --storage s3://bucket/mascing
    """
    from mascing.report import build_report
    from mascing.storage.object_storage import Storage

    page = build_report(Storage.open(storage))
    typer.echo(f"next: open {page}")
