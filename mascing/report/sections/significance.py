"""The table of tests: does a method's target rate differ by more than chance from the baseline or the control?"""

from collections.abc import Sequence

from mascing.report.figures.figure import Table
from mascing.report.looks import in_order
from mascing.report.wording import points_text
from mascing.schemas.result import Comparison

_LEAST_SHOWN = 1e-4


def significance_table(comparisons: Sequence[Comparison]) -> Table | None:
    """Make one row per comparison; return None if there is none."""
    if not comparisons:
        return None
    order = in_order({comparison.method for comparison in comparisons})
    rows = [
        (
            comparison.method,
            comparison.against,
            points_text(comparison.difference),
            *(_p(value) for value in (comparison.p, comparison.holm_p)),
        )
        for comparison in sorted(comparisons, key=lambda row: (order.index(row.method), row.against))
    ]
    columns = ("Method", "Against", "Target, points", "p", "Holm-adjusted p")
    return Table("Target rate against the unsteered model and the random control", columns, tuple(rows))


def _p(value: float) -> str:
    return f"< {_LEAST_SHOWN:g}" if value < _LEAST_SHOWN else f"{value:.2g}"
