"""Read files of conversations row by row: what they are, and which rows can be used."""

import difflib
import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from typing import Protocol

from mascing.conversations.intake.formats import Format, format_of
from mascing.conversations.intake.layouts import Layout, layout_of
from mascing.conversations.intake.mapping import column, consumed, is_read
from mascing.conversations.intake.opening import Opener, opened
from mascing.conversations.intake.raw import Raw, Row
from mascing.conversations.intake.reasons import summary
from mascing.conversations.intake.rows import Maker, Quarantined, Used, hash_of
from mascing.errors import DataError
from mascing.schemas.catalogue.sources import SourceConfig
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


@dataclass(frozen=True)
class Part:
    """Files of one layout; ``source`` says which of their rows are read, and what all their conversations share."""

    formats: Sequence[Format]
    columns: ColumnsConfig | None = None
    source: SourceConfig | None = None


class Reading:
    """The conversations in one part or in several. Nothing but a row stands in memory.

    The rows of a part are numbered through. Raises DataError if the files cannot be read or their columns show no
    layout.
    """

    def __init__(self, parts: Sequence[Part], max_characters: int) -> None:
        self._parts = [_PartReading(part, max_characters) for part in parts]
        self.notes = [note for part in self._parts for note in part.notes]

    @property
    def format(self) -> str:
        """The formats of the files, as a person says them."""
        formats = [kind.name for part in self._parts for kind in part.formats]
        return " and ".join(dict.fromkeys(formats)) + (f" in {len(formats)} files" if len(formats) > 1 else "")

    @property
    def layout(self) -> Layout:
        """The layout of the first part, which is the only one unless a run has several sources."""
        return self._parts[0].layout

    @property
    def layouts(self) -> str:
        """The names of all layouts."""
        return " and ".join(dict.fromkeys(part.layout.name for part in self._parts))

    @property
    def unit(self) -> str:
        """What the row numbers count: lines or rows."""
        formats = [kind for part in self._parts for kind in part.formats]
        return formats[0].unit if len(formats) == 1 else "row"

    def rows(self, row_of: RowsById) -> Iterator[Used | Quarantined]:
        """Every conversation and every row that is none, in order; ``row_of`` is filled with the ids that are used.

        Of rows that share an id, the first usable one counts.
        """
        for part in self._parts:
            for raw, made in part.rows():
                if isinstance(made, Quarantined):
                    yield part.told(made)
                elif made.conversation.id in row_of:
                    yield part.told(self._duplicate(made, row_of[made.conversation.id], raw.text))
                else:
                    row_of[made.conversation.id] = made.row
                    yield made

    def _duplicate(self, made: Used, earlier: int, text: str) -> Quarantined:
        what = "equal to" if made.hashed else f"duplicate id {made.conversation.id!r}:"
        also = "" if made.hashed else " has it already"
        return Quarantined(made.row, made.conversation.id, f"{what} {self.unit} {earlier}{also}", text)


class _PartReading:
    """The rows of a part, made to conversations by its layout."""

    def __init__(self, part: Part, max_characters: int) -> None:
        self.formats = part.formats
        self._source = part.source
        rows = (raw.value for raw in self._wanted() if raw.value is not None)
        sample = [{name: value for name, value in row.items() if value is not None} for row in islice(rows, _SAMPLED)]
        with self._named():
            if not sample and part.source and part.source.where:
                raise DataError(f"no row has the values of `where`: {part.source.where}")
            self.layout = layout_of(part.columns, sample)
        notes = [*near_misses(self.layout, sample), *left_out(self.layout, sample)]
        self.notes = [self._prefixed(note) for note in notes]
        self._maker = Maker(self.layout, max_characters, part.source)

    def rows(self) -> Iterator[tuple[Raw, Used | Quarantined]]:
        """Each row with the conversations that it makes."""
        most = self._source.rows if self._source else None
        chosen = None if most is None else _chosen(self._wanted(), most)
        for raw in self._wanted():
            if chosen is None or raw.number in chosen:
                yield from ((raw, made) for made in self._maker.make(raw))

    def told(self, row: Quarantined) -> Quarantined:
        """The row, with the name of its source before the reason."""
        return replace(row, reason=self._prefixed(row.reason)) if self._source else row

    def _prefixed(self, sentence: str) -> str:
        return f"{self._source.name}: {sentence}" if self._source else sentence

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except DataError as error:
            raise DataError(self._prefixed(str(error))) from error

    def _wanted(self) -> Iterator[Raw]:
        """The rows that the source asks for, numbered through; those that cannot be read are among them."""
        where = self._source.where if self._source else {}
        before = 0
        for kind in self.formats:
            last = 0
            for raw in kind.rows():
                last = raw.number
                if raw.value is None or all(str(column(raw.value, name)) in where[name] for name in where):
                    yield replace(raw, number=before + raw.number) if before else raw
            before += last


def _chosen(rows: Iterable[Raw], most: int) -> frozenset[int]:
    """The numbers of at most ``most`` rows, those of the smallest hashes, so that their order does not matter."""
    hashed = ((hash_of(raw.value if raw.value is not None else raw.text), raw.number) for raw in rows)
    return frozenset(number for _, number in heapq.nsmallest(most, hashed))


def open_conversations(files: Mapping[str, Opener], columns: ColumnsConfig | None, max_characters: int) -> Reading:
    """Open files by name; see `Reading`."""
    return Reading([Part(formats_of(files), columns)], max_characters)


def formats_of(files: Mapping[str, Opener]) -> list[Format]:
    """The format of each file, told by its content. Raises DataError if one cannot be read."""
    return [format_of(opened(name, file)) for name, file in files.items()]


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
