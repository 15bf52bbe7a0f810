"""The effect of each mask under changed conditions."""

from collections.abc import Mapping

from mascing.report.figures.figure import Figure, Json, Table, legend_below, to_spec
from mascing.report.figures.palette import error_bars, ringed_marker
from mascing.report.looks import Look, in_order, looks_of
from mascing.report.wording import points_text, set_order, set_title
from mascing.schemas.result import Rate, Result

AS_IT_IS = "as it is"

Changes = Mapping[str, Mapping[str, Mapping[str, Rate]]]
"""Paired change by method, condition and set."""


def robustness_figure(result: Result, changes: Changes, least: float) -> Figure | None:
    """Plot the uplift of each method under each condition, beside that on the whole test split.

    ``least`` is the value that the lower bound of the uplift must reach. Returns None if ``changes`` is empty.
    """
    if not changes:
        return None
    methods = in_order(changes)
    names = list(next(iter(changes.values())))
    looks = looks_of(result.methods)
    numbers = "; ".join(
        f"{method} {name} {points_text(changes[method][name]['target'])}" for method in methods for name in names
    )
    return Figure(
        key="uplift-conditions",
        title="Uplift under changed conditions",
        caption="Target uplift over the unsteered model under the same condition, with its 95% interval. The dotted "
        "line is the minimum for the lower bound.",
        alt=f"Uplift under each condition with 95% interval: {numbers}.",
        spec=to_spec(
            [_intervals(method, result.methods[method].uplift, changes[method], looks[method]) for method in methods],
            {"title": "uplift, points", "zeroline": True},
            {"title": "", "autorange": "reversed", "type": "category", "showgrid": False},
            height=150 + (1 + len(names)) * (18 + 14 * len(methods)),
            margin={"b": 88},
            scattermode="group",
            legend=legend_below(0.22),
            shapes=[_limit(least)],
        ),
        numbers=_table(changes),
        wide=True,
    )


def _intervals(method: str, unchanged: Rate, changed: Mapping[str, Mapping[str, Rate]], look: Look) -> Json:
    rates = {AS_IT_IS: unchanged} | {name: sets["target"] for name, sets in changed.items()}
    bars = [error_bars(look, rate) for rate in rates.values()]
    return {
        "type": "scatter",
        "orientation": "h",
        "name": method,
        "x": [100 * rate.value for rate in rates.values()],
        "y": list(rates),
        "mode": "markers",
        "cliponaxis": False,
        "marker": ringed_marker(look),
        "error_x": bars[0] | {side: [bar[side][0] for bar in bars] for side in ("array", "arrayminus")},
        "text": [points_text(rate) for rate in rates.values()],
        "hovertemplate": f"{method}, %{{y}}: %{{text}}<extra></extra>",
    }


def _limit(least: float) -> Json:
    line = {"color": "var(--muted)", "width": 1, "dash": "dot"}
    return {"type": "line", "x0": 100 * least, "x1": 100 * least, "yref": "paper", "y0": 0, "y1": 1, "line": line}


def _table(changes: Changes) -> Table:
    sets = sorted(
        {name for conditions in changes.values() for by_set in conditions.values() for name in by_set}, key=set_order
    )
    rows = [
        (method, condition, *(points_text(by_set[name]) for name in sets))
        for method in in_order(changes)
        for condition, by_set in changes[method].items()
    ]
    caption = "Change in points against the unsteered model under the same condition, with 95% intervals"
    return Table(caption, ("Method", "Condition", *map(set_title, sets)), tuple(rows))
