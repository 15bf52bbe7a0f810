"""From the routers of a model to the layout of its trace shards, and back."""

from collections.abc import Iterable

from mascing.errors import DataError
from mascing.routers.spec import RouterSpec
from mascing.schemas.facts import RouterFacts
from mascing.schemas.trace_layout import Chosen, Region, TraceLayout


def layout_of(spec: RouterSpec, checkpoint: str, chosen: Chosen, spans: Iterable[Region]) -> TraceLayout:
    """The layout of a shard that holds the chosen part of the routing, with tokens in ``spans``.

    Raises DataError if the model has no such layer.
    """
    return TraceLayout(
        **spec.to_json(),
        checkpoint=checkpoint,
        layers=layers_of(chosen, spec.n_layers),
        spans=tuple(spans),
        keeps=chosen.keep,
    )


def spec_in(layout: TraceLayout) -> RouterSpec:
    """The routers of the model that a shard was recorded from."""
    return RouterSpec(**layout.model_dump(include=set(RouterFacts.model_fields)))


def layers_of(chosen: Chosen, n_layers: int) -> tuple[int, ...]:
    """The chosen of ``n_layers`` MoE layers, as numbers from 0. Raises DataError if there is no such layer."""
    layers = tuple(range(n_layers)) if chosen.layers is None else chosen.layers
    if not layers:
        raise DataError("no layer is chosen: leave the layers out to record them all")
    if layers[-1] >= n_layers:
        raise DataError(f"there is no MoE layer {layers[-1]}: they are counted from 0 to {n_layers - 1}")
    return layers
