"""Markers and error bars in a method's look, and the colour scales of maps."""

from mascing.report.figures.figure import Json
from mascing.report.looks import Look
from mascing.schemas.result import Rate

DIVERGING = [[0.0, "var(--down)"], [0.5, "var(--flat)"], [1.0, "var(--up)"]]
SEQUENTIAL = [[0.0, "var(--low)"], [1.0, "var(--high)"]]


def marker(look: Look) -> Json:
    """Return the method's plotly marker."""
    return {"color": look.colour, "symbol": look.symbol, "size": 10}


def ringed_marker(look: Look) -> Json:
    """Return the marker with an outline, for symbols made of lines."""
    return marker(look) | {"line": {"width": 2, "color": look.colour}}


def error_bars(look: Look, rate: Rate) -> Json:
    """Return the rate's interval as plotly error bars, in percent or points."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [100 * (rate.high - rate.value)],
        "arrayminus": [100 * (rate.value - rate.low)],
        "color": look.colour,
        "thickness": 2,
        "width": 5,
    }
