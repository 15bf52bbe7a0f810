"""The look of each method on a page: its place in every list, its colour and symbol, and the axes of its grid.

Each method has its own symbol, so that readers can distinguish methods without colour.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mascing.evidence.results import CONTROL


@dataclass(frozen=True)
class Look:
    """A CSS variable, a plotly symbol, and the two hyper-parameters of the grid's axes: horizontal, vertical.

    Without axes, the hyper-parameters that vary most span the grid.
    """

    colour: str
    symbol: str
    axes: tuple[str, str] | None = None


LOOKS: Mapping[str, Look] = {
    "baseline": Look("var(--baseline)", "line-ns-open"),
    "mascing": Look("var(--mascing)", "circle", ("alpha", "lambda")),
    "consensus": Look("var(--consensus)", "hexagon", ("alpha", "share")),
    "steermoe": Look("var(--steermoe)", "square", ("n_activated", "n_deactivated")),
    "gradient": Look("var(--gradient)", "diamond", ("alpha", "l1")),
    "refined": Look("var(--refined)", "diamond-tall", ("alpha", "l1")),
    "active": Look("var(--active)", "triangle-up", ("alpha", "l1")),
    CONTROL: Look("var(--random)", "x"),
}
"""The unsteered model, the built-in methods and the control, in the order of every table and plot."""

_SPARE_COLOURS = ("var(--indigo)", "var(--crimson)", "var(--teal)", "var(--brown)")
_SPARE_SYMBOLS = ("star", "pentagon", "cross", "triangle-down", "hexagram", "hourglass", "bowtie")


def in_order(methods: Iterable[str]) -> list[str]:
    """Sort methods for every table and plot: the baseline, the built-in methods, others by name, the control."""
    return sorted(methods, key=_place)


def looks_of(methods: Iterable[str]) -> dict[str, Look]:
    """Return the look of each method. A method without its own look gets a spare, which depends only on ``methods``."""
    ordered = in_order(methods)
    others = [name for name in ordered if name not in LOOKS]
    return {name: LOOKS.get(name) or _spare(others.index(name)) for name in ordered}


def _place(method: str) -> tuple[int, str]:
    known = list(LOOKS)
    # Other methods come just before the control, which is last.
    return (2 * known.index(method) if method in known else 2 * known.index(CONTROL) - 1), method


def _spare(number: int) -> Look:
    return Look(
        _SPARE_COLOURS[number % len(_SPARE_COLOURS)],
        _SPARE_SYMBOLS[number % len(_SPARE_SYMBOLS)],
    )
