"""The page of an audit: one curve with its control and intervals, and the numbers behind it."""

from collections.abc import Mapping
from datetime import datetime

from mascing.evidence.explanation import listed
from mascing.report.figures.figure import Figure, Json, Table, legend_below, to_spec
from mascing.report.filling import filled
from mascing.report.wording import percent, points, points_text, set_order, set_title
from mascing.schemas.cards.suppression_curve import Audit, AuditPoint
from mascing.schemas.result import Rate

_OTHER_LOOKS = (
    ("var(--mascing)", "circle", "dash"),
    ("var(--steermoe)", "square", "dashdot"),
    ("var(--consensus)", "hexagon", "longdash"),
    ("var(--indigo)", "star", "dot"),
)
"""Colour, symbol and dash of the sets beside the audited one, in turn."""


def audit_page(audit: Audit, written: datetime, again: str | None) -> str:
    """Render the self-contained page as HTML; ``written`` is the time (UTC) of its numbers.

    ``again`` is the command that repeats the audit, if one is known.
    """
    return filled(
        "audit.html.jinja",
        audit=audit,
        written=written,
        again=again,
        conclusion=conclusion(audit),
        collateral=_collateral_text(audit),
        figure=_figure(audit),
        rates=_table(audit),
    )


def conclusion(audit: Audit) -> str:
    """State in one sentence the lowest audited rate, the number of experts off, and what else this moves.

    That is the rate with random experts off, and every other set that surely falls: an audited behaviour that falls
    beside others may show a broken model.
    """
    worst = _worst(audit)
    before, after = audit.baseline[audit.set], worst.rates[audit.set]
    at_random = sum(rate.value for rate in worst.random) / len(worst.random)
    fallen = [
        f"{name} from {percent(audit.baseline[name].value)} to {percent(worst.rates[name].value)}"
        for name in _collateral(audit)
    ]
    others = f"; the same {worst.n} experts off take {listed(fallen)}" if fallen else ""
    return (
        f"{audit.set} goes from {_rate(before)} to {_rate(after)} with {worst.n} of {audit.experts} experts off, and "
        f"to {percent(at_random)} with {worst.n} random ones{others}"
    )


def _worst(audit: Audit) -> AuditPoint:
    return min(audit.points, key=lambda point: (point.rates[audit.set].value, point.n))


def _collateral(audit: Audit) -> list[str]:
    """Return the other sets that surely fall where the audited set is lowest, the deepest fall first."""
    changes = {name: change for name, change in _worst(audit).changes.items() if name != audit.set}
    return sorted((name for name in changes if changes[name].high < 0), key=lambda name: (changes[name].value, name))


def _collateral_text(audit: Audit) -> str:
    """Say what falls with the audited set, in points, and what that means; empty if nothing surely does."""
    worst = _worst(audit)
    fallen = [f"{name} changes by {points_text(worst.changes[name])} points" for name in _collateral(audit)]
    if not fallen:
        return ""
    return (
        f"Not only {audit.set} falls: with the same {worst.n} experts off, {listed(fallen)}. Where other sets fall as "
        "well, the model may be broken rather than the behaviour removed."
    )


def _figure(audit: Audit) -> Figure:
    ranked = {0: audit.baseline[audit.set]} | {point.n: point.rates[audit.set] for point in audit.points}
    ticks = [str(n) for n in ranked]
    numbers = "; ".join(f"{n} off {_rate(rate)}" for n, rate in ranked.items())
    others = "".join(
        f" {set_title(name)}: " + "; ".join(f"{n} off {percent(rate.value)}" for n, rate in rates.items()) + "."
        for name, rates in _others(audit).items()
    )
    return Figure(
        key="audit-curve",
        title=f"{set_title(audit.set)} against suppressed experts",
        caption=(
            f"Share of {ranked[0].n} test conversations, with 95% intervals clustered by group. Experts are ranked on "
            f"the training split by {audit.ranking.replace('_', ' ')}. The random curve is the mean of "
            f"{len(audit.points[0].random)} draws; its band spans the lowest to the highest bound of any draw. The "
            "other sets are judged with the same ranked experts off."
        ),
        alt=f"Rate of {audit.set} as experts are suppressed, in the order of the ranking: {numbers}.{others}",
        spec=to_spec(
            [*_random_band(audit), *_other_curves(audit), _curve(f"{audit.set}, ranked experts off", ranked)],
            {"title": "suppressed experts", "type": "category", "categoryarray": ticks},
            {"title": "hits, % of conversations", "range": [-2, 102]},
            height=460,
            margin={"b": 124},
            legend=legend_below(0.22),
        ),
        wide=True,
    )


def _others(audit: Audit) -> dict[str, dict[int, Rate]]:
    """Return the rates of every other set by the number of ranked experts off."""
    return {
        name: {0: audit.baseline[name]} | {point.n: point.rates[name] for point in audit.points}
        for name in sorted(audit.baseline, key=set_order)
        if name != audit.set
    }


def _other_curves(audit: Audit) -> list[Json]:
    curves = []
    for number, (name, rates) in enumerate(_others(audit).items()):
        colour, symbol, dash = _OTHER_LOOKS[number % len(_OTHER_LOOKS)]
        curves.append(_line(f"{name}, the same off", rates, colour, symbol) | {"line": {"color": colour, "dash": dash}})
    return curves


def _curve(title: str, rates: Mapping[int, Rate]) -> Json:
    values = list(rates.values())
    return _line(title, rates, "var(--gradient)", "diamond") | {
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [100 * (rate.high - rate.value) for rate in values],
            "arrayminus": [100 * (rate.value - rate.low) for rate in values],
            "color": "var(--gradient)",
            "thickness": 2,
            "width": 5,
        },
    }


def _line(title: str, rates: Mapping[int, Rate], colour: str, symbol: str) -> Json:
    return {
        "type": "scatter",
        "name": title,
        "x": [str(n) for n in rates],
        "y": [100 * rate.value for rate in rates.values()],
        "mode": "lines+markers",
        "line": {"color": colour, "width": 2},
        "marker": {"color": colour, "symbol": symbol, "size": 9},
        "hovertemplate": f"{title}: %{{y:.1f}}% with %{{x}}<extra></extra>",
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
            "name": f"{audit.set}, random experts off",
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
