"""Options that several commands take."""

import re
import shlex
from typing import Annotated

import typer

from mascing.errors import ConfigError

DEFAULT_STORAGE = "./mascing-data"

StorageOption = Annotated[
    str,
    typer.Option("--storage", metavar="URL", help="Folder or s3://bucket/prefix that keeps everything a run leaves."),
]
MaskArgument = Annotated[str, typer.Argument(metavar="MASK", help="File, URL, or behaviour@channel.")]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="Show what Prefect logs as well.")]


def _named(behaviour: str) -> str:
    from mascing.schemas.settings.behaviour_settings import BEHAVIOUR_NAME

    if not re.fullmatch(BEHAVIOUR_NAME, behaviour):
        raise ConfigError(
            f"--behaviour is {behaviour!r}: a name has lower-case letters, digits and hyphens, as in a run.yaml"
        )
    return behaviour


BehaviourOption = Annotated[
    str, typer.Option("--behaviour", callback=_named, help="Name of the behaviour, for the card.")
]


def storage_option(storage: str) -> str:
    """What names the storage in a further command, as the user wrote it: nothing for the default."""
    return "" if storage == DEFAULT_STORAGE else f" --storage {shlex.quote(storage)}"
