"""Options that several commands take."""

from typing import Annotated

import typer

DEFAULT_STORAGE = "./mascing-data"

StorageOption = Annotated[
    str,
    typer.Option("--storage", metavar="URL", help="Folder or s3://bucket/prefix that keeps everything a run leaves."),
]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="Show what Prefect logs as well.")]
