"""What the page shows of one plot: the plot itself, words for those who cannot see it, and its numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

_FONT = "system-ui, -apple-system, 'Segoe UI', sans-serif"


@dataclass(frozen=True)
class Table:
    """A plain table of ready-made cells; the first column names its row. Further lines of a cell are shown smaller."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Figure:
    """One plot with its title, caption, text alternative and, where the page has no other table of it, its numbers.

    ``spec`` is the plotly figure as JSON values. Its colours are CSS variables (``var(--ink)``), so that one palette in
    the style sheet serves light, dark and print; the page's script resolves them.
    """

    key: str
    title: str
    caption: str
    alt: str
    spec: Json
    numbers: Table | None = None
    wide: bool = False


def to_spec(
    traces: Sequence[Json], x_axis: Json, y_axis: Json, *, height: int, margin: Json | None = None, **layout: Any
) -> Json:
    """A plotly figure in the page's quiet style, ``height`` pixels high; all in plotly's own names."""
    return {
        "data": list(traces),
        "layout": {
            "height": height,
            "margin": {"l": 8, "r": 16, "t": 8, "b": 44} | (margin or {}),
            "dragmode": False,
            "hovermode": "closest",
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "font": {"family": _FONT, "size": 12, "color": "var(--ink)"},
            "hoverlabel": {
                "bgcolor": "var(--surface)",
                "bordercolor": "var(--rule)",
                "font": {"color": "var(--ink)", "size": 12},
            },
            "xaxis": _axis(**x_axis),
            "yaxis": _axis(**y_axis),
            **layout,
        },
    }


def legend_below(offset: float) -> Json:
    """A legend under the plot, ``offset`` of the plot's height below it; leave room for it in the margin."""
    return {"orientation": "h", "x": 0, "y": -offset, "yanchor": "top"}


def _axis(title: str, **options: Any) -> Json:
    return {
        "title": {"text": title, "font": {"size": 12, "color": "var(--muted)"}, "standoff": 8},
        "tickfont": {"color": "var(--muted)"},
        "automargin": True,
        "fixedrange": True,
        "gridcolor": "var(--grid)",
        "linecolor": "var(--rule)",
        "showline": True,
        "zeroline": False,
        "ticks": "",
        **options,
    }
