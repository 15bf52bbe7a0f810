"""Tables on a terminal of any width, or in a log."""

import shutil
import sys
from collections.abc import Iterable, Sequence
from itertools import chain

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

_BETWEEN = "  "
_ENDLESS = 10_000


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print columns side by side, or below each other on a terminal that is too narrow for them.

    Long names stay on one line, so that they can be copied and found.
    """
    rows = list(rows)
    widths = [max(len(row[column]) for row in (headings, *rows)) for column in range(len(headings))]
    if sys.stdout.isatty() and len(_BETWEEN.join(" " * width for width in widths)) > shutil.get_terminal_size().columns:
        lines = [line for row in rows for line in _stacked(headings, row)]
    else:
        lines = [_BETWEEN.join(map(str.ljust, row, widths)).rstrip() for row in (headings, *rows)]
    for line in lines:
        typer.echo(line)


def print_fitting(console: Console, *tables: Table) -> None:
    """Print the first table that fits the terminal, or else the last one; a log gets the first in its full width.

    A column that does not wrap is never cut.
    """
    for column in chain.from_iterable(table.columns for table in tables):
        if column.no_wrap:
            column.min_width = max(cell_len(str(cell)) for cell in (column.header, *column.cells))
    if console.is_terminal:
        fitting = (table for table in tables if _width(console, table).minimum <= console.width)
        console.print(next(fitting, tables[-1]))
    else:
        wide = Console(file=console.file, width=_width(console, tables[0]).maximum)
        with wide.capture() as drawn:
            wide.print(tables[0])
        for line in drawn.get().splitlines():
            typer.echo(line.rstrip(), file=console.file)


def _stacked(headings: Sequence[str], row: Sequence[str]) -> list[str]:
    """The row's name, and below it what is said of it."""
    name, *cells = row
    return [name, *(f"{_BETWEEN}{heading}: {cell}" for heading, cell in zip(headings[1:], cells, strict=True))]


def _width(console: Console, table: Table) -> Measurement:
    """Columns that the table needs at least, and those that it fills without wrapping a cell."""
    return console.measure(table, options=console.options.update(max_width=_ENDLESS))
