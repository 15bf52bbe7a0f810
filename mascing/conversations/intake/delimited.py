"""Rows of CSV and TSV, in which a quote that is not closed must not swallow the rows that follow."""

import csv
import re
import sys
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NamedTuple

from mascing.conversations.intake.opening import Opened, reading
from mascing.conversations.intake.raw import NOT_TEXT, SURROGATE, Raw, readable
from mascing.errors import DataError

_HEADERLESS = re.compile(r"mc\d+\.\w+\.\d+$")
"""The first cell of an MCTest file, the only layout without a line of column names."""

_MANY_LINES = 10
"""Of so many lines in one cell, all with as many delimiters as a row has, none is text."""


class _Record(NamedTuple):
    """The cells between two ends of a row, the lines that they stand on, and the number of the first from 1."""

    cells: list[str]
    lines: list[str]
    first: int


def delimited(file: Opened, delimiter: str) -> Iterator[Raw]:
    """The rows below the line of column names. Raises DataError if a name stands there twice or is not closed."""
    csv.field_size_limit(sys.maxsize)
    with reading(file.name), file.text(newline="") as text:
        first = text.readline()
        headerless = _HEADERLESS.match(first.partition(delimiter)[0]) is not None
        records = _records(chain([first], text) if first else [], delimiter, quoted=not headerless)
        names = [] if headerless else _names(file.name, next(records, None), delimiter)
        number = 0
        for record in records:
            if not any(record.cells):
                continue
            opened = None if headerless else _unclosed(record, delimiter, len(names))
            if opened is None:
                number += 1
                yield _row(number, record.cells, names, delimiter)
                continue
            for line in record.lines:
                number += 1
                yield Raw(number, None, f"the quote that opens in line {opened} is not closed", readable(line))


def _records(lines: Iterable[str], delimiter: str, *, quoted: bool) -> Iterator[_Record]:
    taken: list[str] = []

    def noted() -> Iterator[str]:
        for line in lines:
            taken.append(line)
            yield line

    reader = csv.reader(noted(), delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE)
    for cells in reader:
        yield _Record(cells, list(taken), reader.line_num - len(taken) + 1)
        taken.clear()


def _names(file: str, header: _Record | None, delimiter: str) -> list[str]:
    if header is None:
        return []
    if (opened := _unclosed(header, delimiter, 0)) is not None:
        raise DataError(f"{file}: the quote that opens in line {opened}, among the column names, is not closed")
    names = [name.strip() for name in header.cells]
    if twice := [name for name in names if name and names.count(name) > 1]:
        raise DataError(f"{file}: the column {twice[0]!r} stands there twice; give one another name")
    return names


def _unclosed(record: _Record, delimiter: str, columns: int) -> int | None:
    """The line in which a quote opens that is not closed where its cell ends; None if all are."""
    if len(record.lines) == 1 and record.lines[0].count('"') % 2 == 0:
        return None
    try:
        list(csv.reader(record.lines, delimiter=delimiter, strict=True))
    except csv.Error as error:
        at_end = "end of data" in str(error)
        return record.first + (sum(cell.count("\n") for cell in record.cells[:-1]) if at_end else 0)
    inner = record.lines[1:-1]
    holds_rows = columns > 1 and all(line.count(delimiter) == columns - 1 for line in inner)
    return record.first if len(inner) >= _MANY_LINES and holds_rows else None


def _row(number: int, cells: list[str], names: list[str], delimiter: str) -> Raw:
    text = readable(delimiter.join(cells))
    if any(SURROGATE.search(cell) for cell in cells):
        return Raw(number, None, NOT_TEXT, text)
    if not names:
        return Raw(number, {"cells": cells}, text=text)
    if len(cells) > len(names):
        return Raw(number, None, f"{len(cells)} cells under {len(names)} column names: is a quote missing?", text)
    return Raw(number, {name: cell for name, cell in zip(names, cells, strict=False) if cell.strip()}, text=text)
