"""Tables of names on a terminal or in a log."""

from collections.abc import Iterable, Sequence

import typer


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print columns side by side; long names stay on one line, so that they can be copied and found."""
    every = [headings, *rows]
    widths = [max(len(row[column]) for row in every) for column in range(len(headings))]
    for row in every:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
