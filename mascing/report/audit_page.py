"""The page of an audit: one curve with its control and intervals, and the numbers behind it."""

from base64 import b64encode
from hashlib import sha256
from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

import mascing.report
from mascing.report.figures.figure import Figure, Json, Table, legend_below, to_spec
from mascing.report.wording import percent, points, set_title
from mascing.schemas.cards.suppression_curve import Audit
from mascing.schemas.result import Rate


def audit_page(audit: Audit) -> str:
    """Render the self-contained page as HTML; equal audits give equal text."""
    scripts = {"plotly_js": get_plotlyjs(), "page_js": _file("page.js")}
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_file("audit.html.jinja")).render(
        audit=audit,
        conclusion=conclusion(audit),
        figure=_figure(audit),
        table=_table(audit),
        style=Markup(_file("page.css")),
        script_hashes=Markup(" ".join(_hash(script) for script in scripts.values())),
        **{name: Markup(script) for name, script in scripts.items()},
    )


def conclusion(audit: Audit) -> str:
    """State in one sentence the lowest audited rate, the number of experts off, and the rate with random experts."""
    before = audit.baseline[audit.set]
    worst = min(audit.points, key=lambda point: (point.rates[audit.set].value, point.n))
    after, at_random = worst.rates[audit.set], sum(rate.value for rate in worst.random) / len(worst.random)
    return (
        f"{audit.set} goes from {_rate(before)} to {_rate(after)} with {worst.n} of {audit.experts} experts off, and "
        f"to {percent(at_random)} with {worst.n} random ones"
    )


def _figure(audit: Audit) -> Figure:
    ranked = {0: audit.baseline[audit.set]} | {point.n: point.rates[audit.set] for point in audit.points}
    ticks = [str(n) for n in ranked]
    numbers = "; ".join(f"{n} off {_rate(rate)}" for n, rate in ranked.items())
    return Figure(
        key="audit-curve",
        title=f"{set_title(audit.set)} against suppressed experts",
        caption=(
            f"Share of {ranked[0].n} test conversations, with 95% intervals clustered by group. Experts are ranked on "
            f"the training split by {audit.ranking.replace('_', ' ')}. The random curve is the mean of "
            f"{len(audit.points[0].random)} draws; its band spans the lowest to the highest bound of any draw."
        ),
        alt=f"Rate of {audit.set} as experts are suppressed, in the order of the ranking: {numbers}.",
        spec=to_spec(
            [*_random_band(audit), _curve(ranked)],
            {"title": "suppressed experts", "type": "category", "categoryarray": ticks},
            {"title": f"{audit.set}, % of conversations", "range": [-2, 102]},
            height=420,
            margin={"b": 84},
            legend=legend_below(0.2),
        ),
        wide=True,
    )


def _curve(rates: dict[int, Rate]) -> Json:
    values = list(rates.values())
    return {
        "type": "scatter",
        "name": "ranked experts off",
        "x": [str(n) for n in rates],
        "y": [100 * rate.value for rate in values],
        "mode": "lines+markers",
        "line": {"color": "var(--gradient)", "width": 2},
        "marker": {"color": "var(--gradient)", "symbol": "diamond", "size": 9},
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [100 * (rate.high - rate.value) for rate in values],
            "arrayminus": [100 * (rate.value - rate.low) for rate in values],
            "color": "var(--gradient)",
            "thickness": 2,
            "width": 5,
        },
        "hovertemplate": "%{x} off: %{y:.1f}%<extra></extra>",
    }


def _random_band(audit: Audit) -> list[Json]:
    draws = {0: (audit.baseline[audit.set],)} | {point.n: point.random for point in audit.points}
    ticks = [str(n) for n in draws]
    edge: Json = {"type": "scatter", "x": ticks, "mode": "lines", "hoverinfo": "skip", "showlegend": False}
    highs = [100 * max(rate.high for rate in rates) for rates in draws.values()]
    lows = [100 * min(rate.low for rate in rates) for rates in draws.values()]
    means = [100 * sum(rate.value for rate in rates) / len(rates) for rates in draws.values()]
    return [
        {**edge, "y": highs, "line": {"width": 1, "color": "var(--random)", "dash": "dot"}},
        {**edge, "y": lows, "line": {"width": 1, "color": "var(--random)", "dash": "dot"}},
        {
            **edge,
            "name": "random experts off",
            "y": means,
            "mode": "lines+markers",
            "showlegend": True,
            "hoverinfo": "all",
            "line": {"color": "var(--random)", "width": 2},
            "marker": {"color": "var(--random)", "symbol": "x", "size": 9},
            "hovertemplate": "%{x} random off: %{y:.1f}%<extra></extra>",
        },
    ]


def _table(audit: Audit) -> Table:
    others = [name for name in audit.baseline if name != audit.set]
    rows = [("0", _cell(audit.baseline[audit.set]), "–", "–", *(_cell(audit.baseline[name]) for name in others))]
    for point in audit.points:
        change = point.changes[audit.set]
        rows.append(
            (
                str(point.n),
                _cell(point.rates[audit.set]),
                f"{points(change.value)}\n{points(change.low)} to {points(change.high)}",
                "\n".join(_cell(rate).replace("\n", ", ") for rate in point.random),
                *(_cell(point.rates[name]) for name in others),
            )
        )
    columns = ("Off", set_title(audit.set), "Change", "Each random draw", *(set_title(name) for name in others))
    return Table("Test split: percent and percentage points, with 95% intervals", columns, tuple(rows))


def _rate(rate: Rate) -> str:
    return f"{percent(rate.value)} [{100 * rate.low:.1f}, {100 * rate.high:.1f}]"


def _cell(rate: Rate) -> str:
    unscored = f"\n{rate.unscored} of {rate.n} unscored" if rate.unscored else ""
    return f"{percent(rate.value)}\n{100 * rate.low:.1f} to {100 * rate.high:.1f}{unscored}"


def _file(name: str) -> str:
    return (files(mascing.report) / name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    return f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'"
