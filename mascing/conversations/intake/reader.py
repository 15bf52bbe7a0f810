"""Read files of conversations row by row: what they are, and which rows can be used."""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Protocol

from mascing.conversations.intake.formats import Format, format_of
from mascing.conversations.intake.layouts import Layout, layout_of
from mascing.conversations.intake.mapping import consumed, is_read
from mascing.conversations.intake.opening import Opener, opened
from mascing.conversations.intake.raw import Raw, Row
from mascing.conversations.intake.reasons import summary
from mascing.conversations.intake.rows import Maker, Quarantined, Used
from mascing.errors import DataError
from mascing.schemas.conversation import Conversation
from mascing.schemas.settings.columns import ColumnsConfig

_SAMPLED = 200
_ALIKE = 0.8
_GIVEN_TO_MODELS = {"context", "contextstring", "document", "history", "input", "passage", "system", "tools"}


class RowsById(Protocol):
    """The rows of the ids that are used: a dict, or what takes less memory than one."""

    def __contains__(self, name: str, /) -> bool:
        """Whether the id is used."""

    def __getitem__(self, name: str, /) -> int:
        """Its row."""

    def __setitem__(self, name: str, row: int, /) -> None:
        """Note the row of a new id."""


@dataclass(frozen=True)
class Read:
    """All conversations of a file in order, the rows that cannot be used, and the row of each conversation by id."""

    conversations: list[Conversation]
    quarantined: list[Quarantined]
    row_of: dict[str, int]


class Reading:
    """The conversations in a file or in several; rows are numbered through. Nothing but a row stands in memory.

    Raises DataError if the files cannot be read or their columns show no layout.
    """

    def __init__(self, formats: Sequence[Format], columns: ColumnsConfig | None, max_characters: int) -> None:
        self._formats = formats
        rows = (raw.value for kind in formats for raw in kind.rows() if raw.value is not None)
        sample = [{name: value for name, value in row.items() if value is not None} for row in islice(rows, _SAMPLED)]
        self.layout = layout_of(columns, sample)
        self.notes = [*near_misses(self.layout, sample), *left_out(self.layout, sample)]
        self._maker = Maker(self.layout, max_characters)

    @property
    def format(self) -> str:
        """The formats of the files, as a person says them."""
        kinds = list(dict.fromkeys(kind.name for kind in self._formats))
        return " and ".join(kinds) + (f" in {len(self._formats)} files" if len(self._formats) > 1 else "")

    @property
    def unit(self) -> str:
        """What the row numbers count: lines or rows."""
        return self._formats[0].unit if len(self._formats) == 1 else "row"

    def rows(self, row_of: RowsById) -> Iterator[Used | Quarantined]:
        """Every conversation and every row that is none, in order; ``row_of`` is filled with the ids that are used.

        Of rows that share an id, the first usable one counts.
        """
        for raw in self._numbered():
            for made in self._maker.make(raw):
                if isinstance(made, Quarantined):
                    yield made
                elif made.conversation.id in row_of:
                    yield self._duplicate(made, row_of[made.conversation.id], raw.text)
                else:
                    row_of[made.conversation.id] = made.row
                    yield made

    def _duplicate(self, made: Used, earlier: int, text: str) -> Quarantined:
        what = "equal to" if made.hashed else f"duplicate id {made.conversation.id!r}:"
        also = "" if made.hashed else " has it already"
        return Quarantined(made.row, made.conversation.id, f"{what} {self.unit} {earlier}{also}", text)

    def _numbered(self) -> Iterator[Raw]:
        before = 0
        for kind in self._formats:
            last = 0
            for raw in kind.rows():
                last = raw.number
                yield replace(raw, number=before + raw.number) if before else raw
            before += last


def open_conversations(files: Mapping[str, Opener], columns: ColumnsConfig | None, max_characters: int) -> Reading:
    """Open files by name; see `Reading`."""
    return Reading([format_of(opened(name, file)) for name, file in files.items()], columns, max_characters)


def read_all(reading: Reading) -> Read:
    """Read everything. Raises DataError if no row can be used."""
    conversations: list[Conversation] = []
    quarantined: list[Quarantined] = []
    row_of: dict[str, int] = {}
    for row in reading.rows(row_of):
        if isinstance(row, Used):
            conversations.append(row.conversation)
        else:
            quarantined.append(row)
    if not conversations:
        raise DataError(nothing_left(quarantined, reading.unit))
    return Read(conversations, quarantined, row_of)


def near_misses(layout: Layout, sample: Iterable[Row]) -> list[str]:
    """A note for each column that is metadata and whose name is close to that of a field no column is read for."""
    read = consumed(layout.columns)
    names = dict.fromkeys(name for row in sample for name in row)
    missing = [name for name in Conversation.model_fields if name not in names and name != "metadata"]
    near = {
        name: difflib.get_close_matches(name.lower(), missing, n=1, cutoff=_ALIKE)
        for name in names
        if not is_read(name, read)
    }
    return [
        f"column {name!r} is kept as metadata; did you mean {fields[0]!r}?" for name, fields in near.items() if fields
    ]


def left_out(layout: Layout, sample: Iterable[Row]) -> list[str]:
    """A note for each column that is metadata though its name says that a model was given it."""
    read = consumed(layout.columns)
    names = dict.fromkeys(name for row in sample for name in row)
    return [
        f"column {name!r} is metadata and no part of the conversation; if it should be one, say so by `columns`"
        for name in names
        if name.lower() in _GIVEN_TO_MODELS and not is_read(name, read)
    ]


def nothing_left(quarantined: Sequence[Quarantined], unit: str) -> str:
    """Why a file gives no conversation."""
    if not quarantined:
        return "no conversations: the file has no rows"
    return f"none of the {len(quarantined)} conversations can be used: {summary(quarantined, unit)}"
