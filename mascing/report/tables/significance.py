"""The table of tests: could a method's target rate be that of the baseline, or of the random control, by chance?"""

from collections.abc import Mapping
from typing import Any

from mascing.report.figures.figure import Table
from mascing.report.looks import in_order
from mascing.report.wording import points_text
from mascing.schemas.result import Rate

_LEAST_SHOWN = 1e-4


def significance_table(gated: Mapping[str, Any]) -> Table | None:
    """One row a comparison of ``gated``, the facts of the gate stage; None where it made none."""
    made = gated.get("comparisons", [])
    if not made:
        return None
    order = in_order({one["method"] for one in made})
    rows = [
        (
            one["method"],
            one["against"],
            points_text(Rate.model_validate(one["difference"])),
            *(_p(one[name]) for name in ("mcnemar_p", "clustered_p", "holm_p")),
        )
        for one in sorted(made, key=lambda one: (order.index(one["method"]), one["against"]))
    ]
    columns = ("Method", "Against", "Target, points", "McNemar p", "Clustered p", "Holm-adjusted p")
    return Table("Target rate against the unsteered model and the random control", columns, tuple(rows))


def _p(value: float) -> str:
    return f"< {_LEAST_SHOWN:g}" if value < _LEAST_SHOWN else f"{value:.2g}"
