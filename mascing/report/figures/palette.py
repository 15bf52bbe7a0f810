"""One colour and one symbol a method, the same in every plot; told apart without colour as well."""

from mascing.report.figures.figure import Json
from mascing.schemas.result import Rate

_COLOURS = {
    "baseline": "var(--baseline)",
    "mascing": "var(--mascing)",
    "steermoe": "var(--steermoe)",
    "gradient": "var(--gradient)",
    "active": "var(--active)",
    "random": "var(--random)",
}
_SYMBOLS = {
    "baseline": "line-ns-open",
    "mascing": "circle",
    "steermoe": "square",
    "gradient": "diamond",
    "active": "triangle-up",
    "random": "x",
}

DIVERGING = [[0.0, "var(--down)"], [0.5, "var(--flat)"], [1.0, "var(--up)"]]
SEQUENTIAL = [[0.0, "var(--low)"], [1.0, "var(--high)"]]


def colour(method: str) -> str:
    """The CSS variable of the method's colour."""
    return _COLOURS.get(method, "var(--ink)")


def marker(method: str) -> Json:
    """The method's plotly marker."""
    return {"color": colour(method), "symbol": _SYMBOLS.get(method, "star"), "size": 10}


def error_bars(method: str, rate: Rate) -> Json:
    """The rate's interval as plotly error bars, in percent or points."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [100 * (rate.high - rate.value)],
        "arrayminus": [100 * (rate.value - rate.low)],
        "color": colour(method),
        "thickness": 2,
        "width": 5,
    }
