"""The table of degenerate replies: how many each method gives, and of what kind."""

from collections.abc import Mapping
from typing import get_args

from mascing.report.figures.figure import Table
from mascing.report.looks import in_order
from mascing.report.wording import points_text
from mascing.schemas.result import DegenerateKind, Result

_KINDS: tuple[DegenerateKind, ...] = get_args(DegenerateKind)


def degenerate_table(result: Result) -> Table | None:
    """Make one row per method, with the change that its gate looks at; the baseline has only the first two kinds.

    Return None if no reply is degenerate.
    """
    counts = [result.baseline.degenerate, *(method.degenerate for method in result.methods.values())]
    if not any(sum(kinds.values()) for kinds in counts):
        return None
    columns = ("Method", *(kind.replace("_", " ").capitalize() for kind in _KINDS), "Change, points")
    rows = [("baseline", *_counts(result.baseline.degenerate), "–")]
    rows += [
        (name, *_counts(result.methods[name].degenerate), points_text(result.methods[name].degenerate_change))
        for name in in_order(result.methods)
    ]
    return Table("Degenerate replies on the test split", columns, tuple(rows))


def _counts(degenerate: Mapping[DegenerateKind, int]) -> list[str]:
    return [str(degenerate.get(kind, 0)) for kind in _KINDS]
