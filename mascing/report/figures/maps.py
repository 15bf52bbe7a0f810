"""Layer x expert maps: where each mask acts, beside the planted circuit if it is known."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from mascing.masks.precision import map_precision
from mascing.report.figures.figure import Figure, Json, Table, to_spec
from mascing.report.figures.palette import DIVERGING
from mascing.report.looks import in_order
from mascing.report.run_evidence import MaskMap
from mascing.report.wording import percent, plain

_STRONGEST = 12
_OUTLINED = " Outlined: the planted circuit (solid: to raise, dotted: to lower)."
_CELL_PIXELS = (7, 26)
# A map with more experts takes the page's full width and has no gaps between its squares.
_NARROW_UP_TO = 32
_PLOT_PIXELS = 320

Map = Sequence[Sequence[float]]


def map_figures(
    maps: Mapping[str, MaskMap],
    truth: Map | None,
    precision: Mapping[str, float | None],
    layer_ids: Sequence[int],
    attribution: Map | None = None,
) -> list[Figure]:
    """Plot the planted circuit if known, then the attribution of all experts, then one map per method.

    Every map outlines the planted entries.
    """
    figures = [] if attribution is None else [_attribution_figure(attribution, truth, layer_ids)]
    figures += [_mask_figure(maps[name], truth, precision.get(name), layer_ids) for name in in_order(maps)]
    if truth is None:
        return figures
    return [_truth_figure(truth, layer_ids, wide=len(figures) % 2 == 0 or _is_wide(truth)), *figures]


def _truth_figure(truth: Map, layer_ids: Sequence[int], wide: bool) -> Figure:
    rows = sorted(_entries(truth), key=lambda entry: (entry[0], entry[1]))
    return Figure(
        key="map-truth",
        title="The planted circuit",
        caption="The experts that cause the behaviour by construction: what a perfect mask raises and lowers.",
        alt="Map of layer by expert of the planted circuit: " + _listed(rows, layer_ids),
        spec=_heatmap(truth, None, layer_ids, ["lower", "", "raise"], "1 = planted"),
        numbers=Table(
            caption="Planted entries",
            columns=("MoE layer", "Expert", "Direction"),
            rows=tuple((_layer(layer, layer_ids), str(expert), _direction(value)) for layer, expert, value in rows),
        ),
        wide=wide,
    )


def _attribution_figure(values: Map, truth: Map | None, layer_ids: Sequence[int]) -> Figure:
    strongest = _strongest(values)
    unit = "nats per σ of layer"
    caption = (
        "The effect of a small bias on each expert on the model's margin between the wanted and the unwanted reply, "
        "for all experts from one backward pass over the training split. No mask: it shows where the cause lies."
    )
    if truth is not None:
        caption += _OUTLINED + f" Circuit precision {percent(map_precision(Tensor(values), Tensor(truth)))}."
    return Figure(
        key="map-attribution",
        title="attribution",
        caption=caption,
        alt=f"Map of layer by expert of the attribution. Strongest: {_listed(strongest, layer_ids)}",
        spec=_heatmap(values, truth, layer_ids, None, unit),
        numbers=_strongest_table(strongest, truth, layer_ids, unit),
        wide=_is_wide(values),
    )


def _mask_figure(mask: MaskMap, truth: Map | None, precision: float | None, layer_ids: Sequence[int]) -> Figure:
    strongest = _strongest(mask.values)
    override = mask.rule == "override"
    caption = (
        f"{mask.entries} experts forced: activated (+1) or deactivated (−1)."
        if override
        else f"{mask.entries} entries, in standard deviations of each layer's router logits."
    )
    if truth is not None:
        caption += _OUTLINED
    if precision is not None:
        caption += f" Circuit precision {percent(precision)}."
    unit = "override" if override else "bias, σ of layer"
    labels = ["deactivated", "", "activated"] if override else None
    return Figure(
        key=f"map-{mask.method}",
        title=mask.method,
        caption=caption,
        alt=f"Map of layer by expert of the {mask.method} mask. Strongest entries: {_listed(strongest, layer_ids)}",
        spec=_heatmap(mask.values, truth, layer_ids, labels, unit),
        numbers=_strongest_table(strongest, truth, layer_ids, unit),
        wide=_is_wide(mask.values),
    )


def _heatmap(values: Map, truth: Map | None, layer_ids: Sequence[int], labels: list[str] | None, unit: str) -> Json:
    layers = [_layer(index, layer_ids) for index in range(len(values))]
    low, high = _CELL_PIXELS
    return to_spec(
        [_squares(values, layers, labels, unit)],
        {"title": "expert", "showgrid": False},
        {"title": "MoE layer", "autorange": "reversed", "showgrid": False, **_layer_ticks(layers)},
        height=64 + max(100, len(values) * min(high, max(low, _PLOT_PIXELS // len(values)))),
        margin={"r": 8},
        shapes=[] if truth is None else _outlines(truth),
    )


def _squares(values: Map, layers: Sequence[str], labels: list[str] | None, unit: str) -> Json:
    limit = max((abs(value) for row in values for value in row), default=0.0) or 1.0
    bar: Json = {"thickness": 10, "outlinewidth": 0, "title": {"text": unit, "side": "right", "font": {"size": 11}}}
    if labels is not None:
        bar |= {"tickvals": [-limit, 0, limit], "ticktext": labels}
    gap = 0 if _is_wide(values) else 1
    return {
        "type": "heatmap",
        "z": [[float(f"{value:.4g}") for value in row] for row in values],
        "y": list(range(len(values))),
        "customdata": [[layer] * len(row) for layer, row in zip(layers, values, strict=True)],
        "zmin": -limit,
        "zmax": limit,
        "colorscale": DIVERGING,
        "colorbar": bar,
        "xgap": gap,
        "ygap": gap,
        "hovertemplate": "layer %{customdata}, expert %{x}: %{z:.3g}<extra></extra>",
    }


def _layer_ticks(layers: Sequence[str]) -> Json:
    """Label about twelve layers at most, so that labels do not overlap."""
    ticks = range(0, len(layers), max(1, len(layers) // 12))
    return {"tickvals": list(ticks), "ticktext": [layers[index] for index in ticks]}


def _outlines(truth: Map) -> list[Json]:
    return [
        {
            "type": "rect",
            "x0": expert - 0.5,
            "x1": expert + 0.5,
            "y0": layer - 0.5,
            "y1": layer + 0.5,
            "line": {"color": "var(--ink)", "width": 1.5, "dash": "solid" if value > 0 else "dot"},
        }
        for layer, expert, value in _entries(truth)
    ]


def _strongest(values: Map) -> list[tuple[int, int, float]]:
    return sorted(_entries(values), key=lambda entry: (-abs(entry[2]), entry[0], entry[1]))[:_STRONGEST]


def _strongest_table(
    strongest: Sequence[tuple[int, int, float]], truth: Map | None, layer_ids: Sequence[int], unit: str
) -> Table:
    columns = ("MoE layer", "Expert", unit.capitalize()) + (() if truth is None else ("Planted",))
    rows = []
    for layer, expert, value in strongest:
        row: tuple[str, ...] = (_layer(layer, layer_ids), str(expert), f"{value:+.3g}".replace("-", "−"))
        rows.append(row if truth is None else (*row, _planted(value, truth[layer][expert])))
    return Table(caption="Strongest entries", columns=columns, rows=tuple(rows))


def _entries(values: Map) -> list[tuple[int, int, float]]:
    return [(layer, expert, value) for layer, row in enumerate(values) for expert, value in enumerate(row) if value]


def _is_wide(values: Map) -> bool:
    return len(values[0]) > _NARROW_UP_TO


def _planted(value: float, truth: float) -> str:
    if not truth:
        return "no"
    return "yes" if value * truth > 0 else "yes, but in the other direction"


def _direction(value: float) -> str:
    return "raise" if value > 0 else "lower"


def _layer(index: int, layer_ids: Sequence[int]) -> str:
    return plain(layer_ids[index]) if index < len(layer_ids) else str(index)


def _listed(entries: Sequence[tuple[int, int, float]], layer_ids: Sequence[int]) -> str:
    return (
        "; ".join(
            f"layer {_layer(layer, layer_ids)} expert {expert} {_direction(value)}" for layer, expert, value in entries
        )
        or "none"
    ) + "."
