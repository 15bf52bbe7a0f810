"""Record raw router logits while a model runs."""

from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from mascing.errors import MascingError
from mascing.models.batching import batch_shape
from mascing.routers.tap import TapHandle, watch_routers


def record(model: nn.Module) -> "Trace":
    """Record the router logits of every forward inside ``with record(model) as trace``.

    The logits are the raw ones, before any edit, softmax, selection or correction, even while the model is steered.
    Raises ModelError or SteeringError if the routers cannot be tapped.
    """
    return Trace(model)


class Trace:
    """Router logits of the forwards run so far."""

    def __init__(self, model: nn.Module) -> None:
        """Tap the routers. Callers use :func:`record`."""
        self._steps: list[tuple[tuple[int, int], list[Tensor]]] = []
        self._handle: TapHandle = watch_routers(model, self._watch)
        self._hook = self._handle.model.get_decoder().register_forward_pre_hook(self._start, with_kwargs=True)

    @property
    def logits(self) -> Tensor:
        """[B, T, L, E] in the routers' dtype, on their device.

        T runs over all forwards since the start or the last :meth:`take`; generation with a KV cache runs one forward
        per step. Raises MascingError if nothing ran, or if batch sizes
        differ.
        """
        steps = [step for step in self._steps if step[1]]
        if not steps:
            raise MascingError("no forward has been recorded: run the model inside `with record(model)`")
        if len({batch for (batch, _), _ in steps}) != 1:
            raise MascingError("the recorded forwards have different batch sizes: call take() after each")
        steps_BTLE = [torch.stack(layers, 1).view(*shape, len(layers), -1) for shape, layers in steps]
        return steps_BTLE[0] if len(steps_BTLE) == 1 else torch.cat(steps_BTLE, 1)

    def take(self) -> Tensor:
        """Return :attr:`logits` and forget them."""
        logits_BTLE = self.logits
        self._steps = []
        return logits_BTLE

    def remove(self) -> None:
        """Stop recording. The recorded logits stay."""
        self._handle.remove()
        self._hook.remove()

    def _start(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._steps.append((batch_shape(args, kwargs), []))

    def _watch(self, layer: int, logits: Tensor) -> None:
        if self._steps:
            self._steps[-1][1].append(logits.detach())

    def __enter__(self) -> "Trace":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()
