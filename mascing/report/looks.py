"""How each method looks on a page: its place in every list, its colour and symbol, and the axes of its grid.

Methods are told apart without colour as well: each has a symbol of its own.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mascing.evidence.results import CONTROL


@dataclass(frozen=True)
class Look:
    """A CSS variable, a plotly symbol, and the two hyper-parameters that span the grid: horizontal, vertical.

    Without axes the grid is spanned by those that vary most.
    """

    colour: str
    symbol: str
    axes: tuple[str, str] | None = None


LOOKS: Mapping[str, Look] = {
    "baseline": Look("var(--baseline)", "line-ns-open"),
    "mascing": Look("var(--mascing)", "circle", ("alpha", "lambda")),
    "steermoe": Look("var(--steermoe)", "square", ("n_activated", "n_deactivated")),
    "gradient": Look("var(--gradient)", "diamond", ("alpha", "l1")),
    "active": Look("var(--active)", "triangle-up", ("alpha", "l1")),
    CONTROL: Look("var(--random)", "x"),
}
"""The unsteered model, the built-in methods and the control, in the order of every table and plot."""

_SPARE_COLOURS = ("var(--indigo)", "var(--crimson)", "var(--teal)", "var(--brown)")
_SPARE_SYMBOLS = ("star", "pentagon", "cross", "triangle-down", "hexagram", "hourglass", "bowtie")


def in_order(methods: Iterable[str]) -> list[str]:
    """Methods as every table and plot lists them: the baseline, the built-in ones, any other by name, the control."""
    return sorted(methods, key=_place)


def looks_of(methods: Iterable[str]) -> dict[str, Look]:
    """The look of each method. Those without one of their own get spares, the same for the same ``methods``."""
    ordered = in_order(methods)
    others = [name for name in ordered if name not in LOOKS]
    return {name: LOOKS.get(name) or _spare(others.index(name)) for name in ordered}


def _place(method: str) -> tuple[int, str]:
    known = list(LOOKS)
    # Before the control, which is the last.
    return (2 * known.index(method) if method in known else 2 * known.index(CONTROL) - 1), method


def _spare(number: int) -> Look:
    return Look(
        _SPARE_COLOURS[number % len(_SPARE_COLOURS)],
        _SPARE_SYMBOLS[number % len(_SPARE_SYMBOLS)],
    )
