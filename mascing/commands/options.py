"""Options that several commands take."""

import shlex
from typing import Annotated

import typer

DEFAULT_STORAGE = "./mascing-data"

StorageOption = Annotated[
    str,
    typer.Option("--storage", metavar="URL", help="Folder or s3://bucket/prefix that keeps everything a run leaves."),
]
MaskArgument = Annotated[str, typer.Argument(metavar="MASK", help="File, URL, or behaviour@channel.")]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="Show what Prefect logs as well.")]


def storage_option(storage: str) -> str:
    """What names the storage in a further command, as the user wrote it: nothing for the default."""
    return "" if storage == DEFAULT_STORAGE else f" --storage {shlex.quote(storage)}"
