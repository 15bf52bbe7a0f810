"""The content of one plot on the page: the plot, a text alternative, and its numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

_FONT = "system-ui, -apple-system, 'Segoe UI', sans-serif"


@dataclass(frozen=True)
class Table:
    """A table of formatted cells; the first column names the row. Further lines of a cell appear smaller."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def without_empty_columns(self) -> "Table":
        """Return the table without the columns in which every cell is empty or a dash."""
        kept = [number for number in range(len(self.columns)) if any(row[number] not in ("", "–") for row in self.rows)]
        if not self.rows or len(kept) == len(self.columns):
            return self
        rows = tuple(tuple(row[number] for number in kept) for row in self.rows)
        return Table(self.caption, tuple(self.columns[number] for number in kept), rows)


@dataclass(frozen=True)
class Figure:
    """One plot with its title, caption and text alternative, and its numbers unless the page has another table of them.

    ``spec`` is the plotly figure as JSON values. Its colours are CSS variables (``var(--ink)``), which the page's
    script resolves. So one palette in the style sheet serves light, dark and print.
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
    """Build a plotly figure in the page's style, ``height`` pixels high; all options have plotly's own names."""
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
    """Place a legend ``offset`` of the plot's height below the plot; the margin must leave room for it."""
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
