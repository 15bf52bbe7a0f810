"""A mask as HTML for notebooks: its facts, a map of layers and experts, and its strongest entries.

Static markup without scripts, links or outside styles; it takes the colours of text from the page.
Shape suffixes: L MoE layer, E expert.
"""

from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING

from torch import Tensor

from mascing.masks.rules import BiasRule

if TYPE_CHECKING:
    from mascing.masks.mask import Mask

_WIDTH = 640
_LARGEST_CELL = 16
_MARGIN = 44
_STRONGEST = 8
_RAISED, _LOWERED = "#2f7bbf", "#c8641c"  # told apart without red and green


def html(mask: "Mask") -> str:
    """The mask as one HTML element."""
    from mascing.masks.unproven import why_unproven

    spec = mask.spec
    why = why_unproven(mask)
    mark = "" if why is None else f"<div><b>unproven</b>: {escape(why)}</div>"
    facts = (
        f"{escape(spec.family)}, {spec.n_layers} MoE layers × {spec.n_experts} experts, top-{spec.top_k} · "
        f"{mask.rule.name} · {mask.entries} of {spec.n_layers * spec.n_experts} entries · "
        f"method {escape(str(mask.provenance.get('method', '-')))} · digest {mask.digest[:12]}"
    )
    return (
        f'<div style="font-family:system-ui,sans-serif;font-size:13px"><div><b>Mask</b> {facts}</div>'
        f"{mark}{_map(mask)}<div>{' '.join(_strongest(mask))}</div></div>"
    )


def _map(mask: "Mask") -> str:
    """A row for each layer, labelled with its depth, and a column for each expert; hovering tells the value."""
    spec = mask.spec
    cell = min(_LARGEST_CELL, max(2, _WIDTH // spec.n_experts))
    width, height = spec.n_experts * cell, spec.n_layers * cell
    every = max(1, -(-12 // cell))  # a label needs 12 pixels
    labels = "".join(
        f'<text x="{_MARGIN - 6}" y="{(row + 0.5) * cell + 4:g}" text-anchor="end">{depth}</text>'
        for row, depth in enumerate(spec.layer_ids)
        if row % every == 0
    )
    return (
        f'<svg role="img" aria-label="Map of the mask: layers down, experts across" width="{_MARGIN + width + 2}" '
        f'height="{height + 16}" style="max-width:100%;fill:currentColor;font-size:10px">{labels}'
        f'<rect x="{_MARGIN}" y="0.5" width="{width}" height="{height}" fill="none" stroke="currentColor" '
        f'stroke-opacity="0.35"/>{"".join(_cells(mask, cell))}'
        f'<text x="{_MARGIN}" y="{height + 12}">experts 0 to {spec.n_experts - 1}, layers by depth</text></svg>'
    )


def _cells(mask: "Mask", cell: int) -> Iterator[str]:
    effect_LE: Tensor = mask.rule.signed_LE
    largest = float(effect_LE.abs().max())
    for layer, expert in effect_LE.nonzero().tolist():
        effect = float(effect_LE[layer, expert])
        yield (
            f'<rect x="{_MARGIN + expert * cell}" y="{layer * cell}" width="{cell}" height="{cell}" '
            f'fill="{_RAISED if effect > 0 else _LOWERED}" fill-opacity="{0.25 + 0.75 * abs(effect) / largest:.2f}">'
            f"<title>layer {mask.spec.layer_ids[layer]}, expert {expert}: {_said(mask, effect)}</title></rect>"
        )


def _strongest(mask: "Mask") -> Iterator[str]:
    """The entries with the largest effect, as words below the map."""
    yield "layer/expert:"
    effect_LE = mask.rule.signed_LE
    order = effect_LE.abs().flatten().argsort(descending=True, stable=True)[: min(_STRONGEST, mask.entries)]
    for index in order.tolist():
        layer, expert = divmod(index, effect_LE.shape[1])
        effect = float(effect_LE[layer, expert])
        colour = _RAISED if effect > 0 else _LOWERED
        yield (
            f'<span style="white-space:nowrap;margin-right:1em"><span style="color:{colour}">■</span> '
            f"{mask.spec.layer_ids[layer]}/{expert} {_said(mask, effect)}</span>"
        )
    if mask.entries > _STRONGEST:
        yield f"and {mask.entries - _STRONGEST} more"


def _said(mask: "Mask", effect: float) -> str:
    if isinstance(mask.rule, BiasRule):
        return f"{effect:+.3f}"
    return "on" if effect > 0 else "off"
