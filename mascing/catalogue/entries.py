"""Find the entries of the catalogue: those that come with mascing by name, and a user's own by path."""

import difflib
import json
import os
from collections.abc import Callable
from importlib.resources import files
from typing import Any

from pydantic import ValidationError

from mascing.errors import ConfigError
from mascing.models.checkpoints import is_hub_id
from mascing.schemas.catalogue.catalogue_entry import CatalogueEntry
from mascing.schemas.settings.judge_paths import with_paths
from mascing.validation import complaints

Reader = Callable[[str], Any]
"""Reads a YAML file. Raises ConfigError."""

_FOLDER = "behaviours"
"""The folder of the package that holds the entries: data, and no code."""
_ENDINGS = (".yaml", ".yml")


def names() -> list[str]:
    """The names of all entries that come with mascing."""
    listed = (file.name for file in (files("mascing") / _FOLDER).iterdir())
    return sorted(name.removesuffix(".yaml") for name in listed if name.endswith(".yaml"))


def is_shipped(named: str) -> bool:
    """Whether an entry is named that comes with mascing, and not one by its path."""
    return not named.endswith(_ENDINGS)


def entry(named: str, read: Reader, folder: str = ".") -> CatalogueEntry:
    """The entry of a name, or of a YAML file; its path is relative to ``folder``, and paths in it to the entry.

    Raises ConfigError if there is none or if it is not right.
    """
    path = _path(named, folder)
    if not os.path.isfile(path):
        raise ConfigError(f"{path}: there is no such file: give the path of an entry (YAML)")
    try:
        found = CatalogueEntry.model_validate_json(json.dumps(read(path), default=str), strict=True)
    except ValidationError as error:
        raise ConfigError(f"{'; '.join(complaints(error, CatalogueEntry))} (in {path})") from error
    own = os.path.dirname(path)
    others = {
        field: tuple(beside(own, name) if name.endswith(_ENDINGS) else name for name in getattr(found, field))
        for field in ("beside", "guarded_by")
    }
    judge = with_paths(found.judge, lambda field, file: _of_judge(own, field, file))
    file = beside(own, found.file) if found.file else None
    return found.model_copy(update={**others, "judge": judge, "file": file})


def beside(folder: str, path: str) -> str:
    """A path relative to a folder as an absolute one; URLs and paths of a home folder as they are."""
    return path if "://" in path or path.startswith("~") else os.path.abspath(os.path.join(folder, path))


def _of_judge(folder: str, field: str, path: str) -> str:
    """The same for a path in a judge's settings, which may also be the hub id of its model."""
    found = beside(folder, path)
    return path if field.endswith("model.path") and is_hub_id(path) and not os.path.isdir(found) else found


def _path(named: str, folder: str) -> str:
    if not is_shipped(named):
        return beside(folder, named)
    if named not in names():
        near = difflib.get_close_matches(named, names(), n=1)
        guess = f"did you mean {near[0]!r}? " if near else ""
        raise ConfigError(
            f"the catalogue has no {named!r}: {guess}`mascing behaviours` lists what there is; an entry of your own is "
            f"named by its path, such as ./{named}.yaml"
        )
    return str(files("mascing") / _FOLDER / f"{named}.yaml")
