"""Utility against uplift: the gain and the cost of each mask, with the gates as lines."""

from collections.abc import Mapping

from mascing.report.figures.figure import Figure, Json, legend_below, to_spec
from mascing.report.figures.palette import error_bars, marker
from mascing.report.looks import Look, in_order, looks_of
from mascing.report.wording import points_text, set_title
from mascing.schemas.config import GatesConfig
from mascing.schemas.result import Rate, Result


def tradeoff_figures(result: Result, changes: Mapping[str, Mapping[str, Rate]], gates: GatesConfig) -> list[Figure]:
    """Plot, for each utility and protected set, its change against uplift, both paired with the baseline."""
    floors = {f"utility/{name}": gates.max_utility_loss for name in result.baseline.utility}
    floors |= {f"protected/{name}": gates.protected_tolerance for name in result.baseline.protected}
    return [
        _figure(
            name, floor, result, {method: by_set[name] for method, by_set in changes.items() if name in by_set}, gates
        )
        for name, floor in floors.items()
    ]


def _figure(name: str, floor: float, result: Result, changes: Mapping[str, Rate], gates: GatesConfig) -> Figure:
    looks = looks_of(result.methods)
    methods = [method for method in in_order(result.methods) if method in changes]
    numbers = "; ".join(
        f"{method} uplift {points_text(result.methods[method].uplift)}, change {points_text(changes[method])}"
        for method in methods
    )
    return Figure(
        key="tradeoff-" + name.replace("/", "-"),
        title=f"{set_title(name)} against uplift",
        caption=(
            f"Paired differences from the baseline with 95% intervals. The dashed lines are the gates: at least "
            f"{100 * gates.min_uplift:g} points of uplift and at most {100 * floor:g} points lost here. A mask passes "
            "if its whole interval lies above and to the right of them."
        ),
        alt=f"{set_title(name)}, change against target uplift, in percentage points: {numbers}.",
        spec=to_spec(
            [_cross(method, result.methods[method].uplift, changes[method], looks[method]) for method in methods],
            {"title": "target uplift, percentage points"},
            {"title": "change, percentage points"},
            height=380,
            margin={"b": 84},
            legend=legend_below(0.24),
            shapes=[
                _gate("x", 100 * gates.min_uplift),
                _gate("y", -100 * floor),
            ],
        ),
    )


def _cross(method: str, uplift: Rate, change: Rate, look: Look) -> Json:
    return {
        "type": "scatter",
        "name": method,
        "x": [100 * uplift.value],
        "y": [100 * change.value],
        "mode": "markers",
        "marker": marker(look),
        "error_x": error_bars(look, uplift),
        "error_y": error_bars(look, change),
        "hovertemplate": f"{method}<br>uplift {points_text(uplift)}<br>change {points_text(change)}<extra></extra>",
    }


def _gate(axis: str, value: float) -> Json:
    """Draw a line through the whole plot at ``value`` of this axis."""
    other = "y" if axis == "x" else "x"
    ends = {f"{axis}0": value, f"{axis}1": value, f"{other}0": 0, f"{other}1": 1, f"{other}ref": "paper"}
    return {"type": "line", "line": {"color": "var(--muted)", "width": 1, "dash": "dash"}, **ends}
