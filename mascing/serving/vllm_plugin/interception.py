"""Where the router logits of vLLM's MoE layers are taken: points in order of preference, behind one interface.

Upstream has marked the first for removal (vllm-project/vllm#32567), so there is a second. Each says whether it fits the
version of vLLM that runs, and nothing is steered at a point that does not.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from torch import Tensor

from mascing.errors import SteeringError
from mascing.serving.vllm_plugin.layers import RoutedLayer

Edit = Callable[[Tensor], Tensor]
"""Router logits [N, width] in, those that are selected by out."""


class Point(Protocol):
    """A place where the logits of one layer pass before experts are selected."""

    name: str

    def complaint(self, layer: RoutedLayer) -> str | None:
        """Why the logits of this layer cannot be taken here, or None."""
        ...

    def install(self, layer: RoutedLayer, edit: Edit) -> None:
        """Pass the logits of this layer, and of no other, through ``edit``."""
        ...


class Dispatch:
    """``MoERunner._maybe_dispatch``: after the gate, before tokens go to other processes and to any kernel."""

    name = "_maybe_dispatch"

    def complaint(self, layer: RoutedLayer) -> str | None:
        """Whether the method is there and takes what it took."""
        if layer.routed_outside:
            return _OUTSIDE
        return _signature_complaint(layer.runner, self.name, ("hidden_states", "router_logits"))

    def install(self, layer: RoutedLayer, edit: Edit) -> None:
        """Shadow the method of this runner."""
        plain = layer.runner._maybe_dispatch

        def steered(hidden_states: Tensor, router_logits: Tensor) -> Any:
            return plain(hidden_states, edit(router_logits))

        layer.runner._maybe_dispatch = steered


class QuantMethod:
    """``MoERunner._apply_quant_method``: the same logits, unless tokens of several processes were gathered before."""

    name = "_apply_quant_method"

    def complaint(self, layer: RoutedLayer) -> str | None:
        """Whether the method is there and takes what it took, and no token of another process is among its own."""
        if layer.routed_outside:
            return _OUTSIDE
        parallel = layer.runner.moe_config
        if parallel.dp_size > 1 or parallel.pcp_size > 1:
            return "the tokens of several processes were gathered before it"
        wanted = ("hidden_states", "router_logits", "shared_experts_input", "input_ids", "shared_experts_overlapping")
        return _signature_complaint(layer.runner, self.name, wanted)

    def install(self, layer: RoutedLayer, edit: Edit) -> None:
        """Shadow the method of this runner."""
        plain = layer.runner._apply_quant_method

        def steered(hidden_states: Tensor, router_logits: Tensor, *args: Any, **kwargs: Any) -> Any:
            return plain(hidden_states, edit(router_logits), *args, **kwargs)

        layer.runner._apply_quant_method = steered


class OutsideGate:
    """The linear layer of a router in transformers' own code, which selects the experts before vLLM runs them."""

    name = "gate"

    def complaint(self, layer: RoutedLayer) -> str | None:
        """Whether the block selects by transformers' code."""
        return None if layer.routed_outside else "vLLM selects the experts itself"

    def install(self, layer: RoutedLayer, edit: Edit) -> None:
        """Shadow the forward of the linear layer."""
        plain = layer.gate.forward

        def steered(*args: Any, **kwargs: Any) -> Tensor:
            logits = plain(*args, **kwargs)
            return edit(logits.reshape(-1, logits.shape[-1])).view(logits.shape)

        layer.gate.forward = steered


POINTS: Sequence[Point] = (Dispatch(), QuantMethod(), OutsideGate())


def point_for(layer: RoutedLayer, wanted: str | None) -> Point:
    """The first point that fits the layer, or the one that is asked for by name.

    Raises SteeringError if none fits.
    """
    complaints = []
    for point in POINTS:
        if wanted is not None and point.name != wanted and not layer.routed_outside:
            continue
        complaint = point.complaint(layer)
        if complaint is None:
            return point
        complaints.append(f"{point.name}: {complaint}")
    raise SteeringError(
        f"this version of vLLM cannot be steered at {layer.name} ({'; '.join(complaints) or f'no point {wanted!r}'}): "
        f"use vLLM {TESTED[0]} to {TESTED[-1]}"
    )


TESTED = ("0.31.0", "0.32.0")
"""The releases of vLLM that the tests of the plugin pass with."""

_OUTSIDE = "the block selects experts itself, and hands vLLM their weights in place of logits"


def _signature_complaint(runner: Any, method: str, wanted: tuple[str, ...]) -> str | None:
    found = getattr(type(runner), method, None)
    if found is None:
        return "vLLM has no such method"
    takes = tuple(inspect.signature(found).parameters)[1:]
    return None if takes == wanted else f"it takes {', '.join(takes)} and not {', '.join(wanted)}"
