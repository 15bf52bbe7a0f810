"""Record the routing of a model while it runs."""

from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from mascing.errors import MascingError
from mascing.models.batching import batch_shape
from mascing.routers.selected_experts import SelectionHandle, watch_selections
from mascing.routers.tap import TapHandle, watch_routers


def record(model: nn.Module, *, selected: bool = True) -> "Trace":
    """Record the routing of every forward inside ``with record(model) as trace``.

    The logits are the raw ones, before any edit, softmax, selection or correction, even while the model is steered.
    The selected experts are those that the model itself selected, under any steering in force. What gradient
    checkpointing recomputes for a backward pass is not recorded again. Raises ModelError or SteeringError if the
    routers cannot be tapped, and ModelError if their selection cannot be observed; with ``selected`` False only the
    logits are recorded.
    """
    return Trace(model, selected)


@dataclass
class _Step:
    """One forward: its (B, T), and by layer the logits [N, E] and the selected experts [N, K]."""

    shape: tuple[int, int]
    logits: list[Tensor] = field(default_factory=list)
    selected: list[Tensor] = field(default_factory=list)


class Trace:
    """The routing of the forwards run so far."""

    def __init__(self, model: nn.Module, selected: bool) -> None:
        """Watch the routers. Callers use :func:`record`."""
        self._steps: list[_Step] = []
        self._running: _Step | None = None
        self._taps: TapHandle = watch_routers(model, self._see_logits)
        try:
            self._selections: SelectionHandle | None = watch_selections(model, self._see_selected) if selected else None
        except BaseException:
            self._taps.remove()
            raise
        decoder = self._taps.model.get_decoder()
        self._hooks = [
            decoder.register_forward_pre_hook(self._start, with_kwargs=True),
            decoder.register_forward_hook(self._end),
        ]

    @property
    def logits(self) -> Tensor:
        """[B, T, L, E] in the routers' dtype, on their device.

        T runs over all forwards since the start or the last :meth:`take`; generation with a KV cache runs one forward
        per step. Raises MascingError if nothing ran, or if batch sizes differ.
        """
        return _joined([(step.shape, step.logits) for step in self._steps if step.logits])

    @property
    def selected(self) -> Tensor:
        """[B, T, L, K], int64: the ids of the selected experts, in no particular order.

        An id of E stands for a place that went to no expert (longcat's zero experts). Raises MascingError as
        :attr:`logits` does, and if the selections were not recorded.
        """
        if self._selections is None:
            raise MascingError("the selections were not recorded: leave out `selected=False`")
        return _joined([(step.shape, step.selected) for step in self._steps if step.selected])

    def take(self) -> Tensor:
        """Return :attr:`logits` and forget them and :attr:`selected`."""
        logits_BTLE = self.logits
        self._steps = []
        return logits_BTLE

    def remove(self) -> None:
        """Stop recording. What was recorded stays."""
        self._taps.remove()
        if self._selections is not None:
            self._selections.remove()
        for hook in self._hooks:
            hook.remove()

    def _start(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._running = _Step(batch_shape(args, kwargs))

    def _end(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        # A forward that fails half-way never gets here, so its part is not kept. Gradient checkpointing runs layers
        # again in the backward pass, outside the decoder's forward.
        if self._running is not None:
            self._steps.append(self._running)
        self._running = None

    def _see_logits(self, layer: int, logits_NE: Tensor) -> None:
        if self._running is not None:
            self._running.logits.append(logits_NE.detach())

    def _see_selected(self, layer: int, ids_NK: Tensor) -> None:
        if self._running is not None:
            self._running.selected.append(ids_NK.long())

    def __enter__(self) -> "Trace":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()


def _joined(steps: list[tuple[tuple[int, int], list[Tensor]]]) -> Tensor:
    """The values [N, X] of each step's layers, as one [B, T, L, X] over all steps."""
    if not steps:
        raise MascingError("no forward has been recorded: run the model inside `with record(model)`")
    if len({batch for (batch, _), _ in steps}) != 1:
        raise MascingError("the recorded forwards have different batch sizes: call take() after each")
    steps_BTLX = [torch.stack(layers, 1).view(*shape, len(layers), -1) for shape, layers in steps]
    return steps_BTLX[0] if len(steps_BTLX) == 1 else torch.cat(steps_BTLX, 1)
