"""Compare the baseline with every method: each measured rate with its interval."""

from collections.abc import Mapping

from mascing.report.figures.figure import Figure, Json, to_spec
from mascing.report.figures.palette import error_bars, ringed_marker
from mascing.report.looks import Look, in_order, looks_of
from mascing.report.wording import percent, rate_text, set_title
from mascing.schemas.result import Baseline, MethodResult, Rate, Result


def rate_figures(result: Result) -> list[Figure]:
    """Plot the intervals of each set: the target first, then utility and protected sets."""
    looks = looks_of(["baseline", *result.methods])
    return [_figure(name, rates, looks) for name, rates in measures(result).items()]


def measures(result: Result) -> dict[str, dict[str, Rate]]:
    """Map each set name to the rates of the baseline and of every method, in the page's order."""
    rows: dict[str, Baseline | MethodResult] = {"baseline": result.baseline, **result.methods}
    rates = {"target": {method: rows[method].target_rate for method in in_order(rows)}}
    for name in result.baseline.utility:
        rates[f"utility/{name}"] = {m: rows[m].utility[name] for m in in_order(rows) if name in rows[m].utility}
    for name in result.baseline.protected:
        rates[f"protected/{name}"] = {m: rows[m].protected[name] for m in in_order(rows) if name in rows[m].protected}
    return rates


def _figure(name: str, rates: Mapping[str, Rate], looks: Mapping[str, Look]) -> Figure:
    numbers = "; ".join(f"{method} {rate_text(rate)}" for method, rate in rates.items())
    return Figure(
        key="rate-" + name.replace("/", "-"),
        title=set_title(name),
        caption=f"Rate on {rates['baseline'].n} test conversations, with its 95% interval. Dotted: the baseline.",
        alt=f"{set_title(name)}, rate with 95% interval: {numbers}.",
        spec=to_spec(
            [_interval(method, rate, looks[method]) for method, rate in rates.items()],
            {"title": f"{_hit(name)}, % of conversations", "range": [-2, 102], "tickvals": [0, 25, 50, 75, 100]},
            {"title": "", "autorange": "reversed", "type": "category", "showgrid": False},
            height=64 + 32 * len(rates),
            margin={"r": 56},
            showlegend=False,
            annotations=[_beside(method, rate) for method, rate in rates.items()],
            shapes=[_baseline_line(rates["baseline"])],
        ),
        wide=name == "target",
    )


def _interval(method: str, rate: Rate, look: Look) -> Json:
    return {
        "type": "scatter",
        "name": method,
        "x": [100 * rate.value],
        "y": [method],
        "mode": "markers",
        "cliponaxis": False,
        "marker": ringed_marker(look),
        "error_x": error_bars(look, rate),
        "hovertemplate": f"{method}: {rate_text(rate)}<br>n {rate.n}, unscored {rate.unscored}<extra></extra>",
    }


def _baseline_line(rate: Rate) -> Json:
    x = 100 * rate.value
    line = {"color": "var(--baseline)", "width": 1, "dash": "dot"}
    return {"type": "line", "x0": x, "x1": x, "yref": "paper", "y0": 0, "y1": 1, "line": line}


def _beside(method: str, rate: Rate) -> Json:
    """Write the value in a column to the right of the plot."""
    return {
        "x": 1,
        "xref": "paper",
        "xanchor": "left",
        "xshift": 6,
        "y": method,
        "text": percent(rate.value),
        "showarrow": False,
        "font": {"color": "var(--ink)", "size": 12},
    }


def _hit(name: str) -> str:
    return {"target": "wanted behaviour", "utility": "right reply", "protected": "kept"}[name.partition("/")[0]]
