"""Read the fields of a conversation from the columns of a row, as a `Columns` mapping says."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from mascing.conversations.intake.raw import Row
from mascing.schemas.settings.columns import Columns

_PLACE = re.compile(r"\{([^{}\n]+?)(\??)\}")
_TEXTS = ("system", "set", "label")
"""The fields whose value is a text, with or without columns in it."""


class MissingColumn(Exception):
    """A text of the mapping needs a column that the row does not have."""


def value_of(row: Row, field: str, source: str) -> Any:
    """The value of a field: a column's, or a text with columns in it. None if there is none. Raises MissingColumn."""
    if field not in _TEXTS and not _PLACE.search(source):
        return column(row, source)
    if (alone := _PLACE.fullmatch(source)) is not None and alone.group(2):
        return column(row, alone.group(1))
    filled = _PLACE.sub(lambda place: _text(row, place.group(1), bool(place.group(2))), source)
    return filled.strip() or None


def column(row: Row, path: str) -> Any:
    """The first of the ``|``-separated columns that has a value; a path leads into a column."""
    for option in path.split("|"):
        found = _at(row, option.strip())
        if found is not None and found != "":
            return found
    return None


def paths(columns: Columns) -> dict[str, list[list[str]]]:
    """For each field that the mapping names, the columns it reads: of each inner list, the row needs one.

    Columns that may be empty are left out.
    """
    return {
        field: [
            [option.strip() for option in path.split("|")] for path, optional in _read(field, source) if not optional
        ]
        for field in sorted(columns.model_fields_set)
        for source in [getattr(columns, field)]
        if source is not None
    }


def consumed(columns: Columns) -> set[str]:
    """The heads of all columns that the mapping reads; ``x*`` stands for every column that starts with x."""
    sources = ((field, source) for field, source in columns if source is not None)
    options = (
        option.strip() for field, source in sources for path, _ in _read(field, source) for option in path.split("|")
    )
    return {name for option in options for name in (option, option.partition(".")[0])}


def is_read(name: str, read: set[str]) -> bool:
    """Whether a column is among those that `consumed` returns."""
    return name in read or any(path.endswith("*") and _matches(path, name) for path in read)


def _read(field: str, source: str | tuple[str, ...]) -> Iterator[tuple[str, bool]]:
    """The columns that a field reads, and whether they may be empty."""
    for text in (source,) if isinstance(source, str) else source:
        places = list(_PLACE.finditer(text))
        if not places and field not in _TEXTS:
            yield text, False
        for place in places:
            yield place.group(1), bool(place.group(2))


def _text(row: Row, path: str, optional: bool) -> str:
    value = column(row, path)
    if value is None and not optional:
        raise MissingColumn(f"column {path!r} is missing or empty")
    return "" if value is None else value if isinstance(value, str) else str(value)


def _at(value: Any, path: str) -> Any:
    if isinstance(value, Mapping):
        if path in value:
            return value[path]
        if path.endswith("*"):
            names = sorted((name for name in value if _matches(path, name)), key=_natural)
            return [value[name] for name in names if value[name] not in (None, "")] or None
    head, _, rest = path.partition(".")
    if isinstance(value, Mapping):
        inner = value.get(head)
    elif isinstance(value, list) and head.isdigit() and int(head) < len(value):
        inner = value[int(head)]
    else:
        return None
    return _at(inner, rest) if rest else inner


def _matches(path: str, name: str) -> bool:
    return name.startswith(path[:-1]) and name[len(path) - 1 :].isdigit()


def _natural(name: str) -> list[int | str]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]
