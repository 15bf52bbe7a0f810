"""Straight-through gradients for the selection of experts, so that experts a token did not select get one too.

Most families normalise weights over the selected experts, so the plain gradient of an unselected expert's logit is 0.
Here the forward pass stays the model's own. The backward pass treats an expert as selected with its probability under
noise, and as taking its weight from the selected experts.
Shape suffixes: N row (a token of a row of the batch), C row of a chunk, L MoE layer, E expert, K selected, H hidden.
"""

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from mascing.routers.spec import experts_of, find_routers, uncompiled
from mascing.routers.tap import tap_routers

SOFTNESS = 1.0
"""Scale, in sigma of the layer, of the noise that defines selection probabilities in the backward pass."""


class StraightThrough:
    """Add ``sigma * S`` to the router logits, differentiably in S [L, E], while the block runs.

    ``noise``, in sigma, is the scale of Gumbel noise on the logits (0 is none). It lets the model select experts that
    it would not select otherwise. ``rows`` are the numbers of the sequences that the next forward reads, within their
    batch. The noise is drawn anew for every value of ``turn`` and depends only on (seed, turn, layer, number of the
    sequence): a layer recomputed for its gradients, and a part of the batch read alone, see the same noise.
    ``only_selected`` leaves out the gradients of experts at the tokens that do not select them.
    Sources: Bengio et al. (2013) for straight-through, Jang et al. (2017) for selection under Gumbel noise.
    """

    def __init__(
        self, model: nn.Module, sigma: Tensor, S_LE: Tensor, seed: int = 0, *, only_selected: bool = False
    ) -> None:
        self.noise, self.turn = 0.0, 0
        self.rows: Sequence[int] = (0,)
        self._sigma: list[float] = sigma.tolist()
        self.S_LE, self._seed, self._only_selected = S_LE, seed, only_selected
        self._model = uncompiled(model)
        self._logits: dict[int, Tensor] = {}

    def __enter__(self) -> "StraightThrough":
        self._taps = tap_routers(self._model, self._edit)
        self._hooks = [
            experts.register_forward_hook(self._selection(layer))
            for layer, router in enumerate(find_routers(self._model))
            if (experts := experts_of(self._model, router)) is not None
        ]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for hook in self._hooks:
            hook.remove()
        self._taps.remove()
        self.forget()

    def forget(self) -> None:
        """Let go of a forward that did not come to its end."""
        self._logits.clear()

    def _edit(self, layer: int, logits_NE: Tensor) -> Tensor:
        steered_NE = logits_NE.float() + (self._sigma[layer] * self.S_LE[layer]).to(logits_NE.device)
        if self.noise > 0:
            steered_NE = steered_NE + self.noise * self._sigma[layer] * self._gumbel(layer, steered_NE)
        self._logits[layer] = steered_NE
        return steered_NE

    def _gumbel(self, layer: int, like_NE: Tensor) -> Tensor:
        drawn = [self._drawn(layer, row, like_NE.shape) for row in self.rows]
        return -torch.cat(drawn).log().to(like_NE.device)

    def _drawn(self, layer: int, row: int, shape: torch.Size) -> Tensor:
        """Return the exponential noise of one sequence, [T, E]."""
        seed = self._seed
        for number in (self.turn, layer, row):
            seed = (seed * 1_000_003 + number) % 2**63
        generator = torch.Generator().manual_seed(seed)
        return torch.empty(shape[0] // len(self.rows), shape[1]).exponential_(generator=generator)

    def _selection(self, layer: int) -> Callable[[nn.Module, tuple[Any, ...], Tensor], Tensor]:
        """Return a hook that adds 0 to the output of the layer's experts, with the gradient of selecting each."""

        def add(experts: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
            if len(inputs) != 3:  # llama4 runs all experts on inputs scaled by 0, so only noise reaches them
                return output
            hidden, index_NK, weights_NK = inputs
            scale = SOFTNESS * self._sigma[layer]
            # Detached: only the selected experts pass gradients to the layers below.
            zero: Tensor = _Selection.apply(
                self._logits.pop(layer),
                output.detach(),
                hidden.detach(),
                index_NK,
                weights_NK.detach(),
                experts,
                scale,
                self._only_selected,
            )
            return output + zero

        return add


class _Selection(torch.autograd.Function):
    """Zeros like ``output`` whose gradient is that of all experts' weights under changing selection probabilities.

    The output of every expert for every row is needed in the backward pass alone. It is computed there, a chunk of rows
    at a time, so that nothing of it is kept and no chunk takes more memory than the selected experts of all rows do.
    """

    @staticmethod
    def forward(
        ctx: Any,
        logits_NE: Tensor,
        output: Tensor,
        hidden_NH: Tensor,
        index_NK: Tensor,
        weights_NK: Tensor,
        experts: nn.Module,
        scale: float,
        only_selected: bool,
    ) -> Tensor:
        ctx.save_for_backward(logits_NE, hidden_NH, index_NK, weights_NK)
        ctx.experts, ctx.scale, ctx.only_selected = experts, scale, only_selected
        return torch.zeros_like(output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        logits_NE, hidden_NH, index_NK, weights_NK = ctx.saved_tensors
        effect_NE = _effects(ctx.experts, hidden_NH, weights_NK, grads[0], logits_NE.shape[1])
        held_NK = weights_NK.float()
        total_N1 = held_NK.sum(-1, keepdim=True)
        # An expert that is selected takes its weight from the selected ones, in proportion to what they hold.
        share_NE = _spread(held_NK / total_N1, index_NK, logits_NE.shape[1])
        gain_NE = effect_NE - (share_NE * effect_NE).sum(-1, keepdim=True)
        boundary_N1 = logits_NE.topk(weights_NK.shape[1] + 1).values[:, -2:].mean(-1, keepdim=True)
        probability_NE = ((logits_NE - boundary_N1) / ctx.scale).sigmoid()
        slope_NE = probability_NE * (1 - probability_NE) / ctx.scale
        if ctx.only_selected:
            slope_NE = slope_NE * _spread(torch.ones_like(held_NK), index_NK, logits_NE.shape[1])
        return total_N1 * slope_NE * gain_NE, None, None, None, None, None, None, None


def _effects(experts: nn.Module, hidden_NH: Tensor, weights_NK: Tensor, grad_NH: Tensor, n_experts: int) -> Tensor:
    """Return the gradient of the weight of every expert for every row, float32 [N, E]."""
    n_rows, top_k = weights_NK.shape
    chunk = max(1, n_rows * top_k // n_experts)
    hidden_NH, grad_NH = hidden_NH.reshape(n_rows, -1), grad_NH.reshape(n_rows, -1)
    every_E = torch.arange(n_experts, device=hidden_NH.device)
    effects: list[Tensor] = []
    for hidden_CH, grad_CH in zip(hidden_NH.split(chunk), grad_NH.split(chunk), strict=True):
        with torch.enable_grad():
            weights_CE = weights_NK.new_zeros(len(hidden_CH), n_experts, requires_grad=True)
            output_CH = experts.forward(hidden_CH, every_E.expand_as(weights_CE), weights_CE)
        effects += torch.autograd.grad(output_CH, weights_CE, grad_CH.to(output_CH.dtype).view_as(output_CH))
    return torch.cat(effects).float()


def _spread(values_NK: Tensor, index_NK: Tensor, n_experts: int) -> Tensor:
    """Return the values at their experts, float32 [N, E], and 0 elsewhere."""
    # One column more takes the places that go to no expert (longcat); it is dropped.
    spread_NE = values_NK.new_zeros(len(values_NK), n_experts + 1)
    return spread_NE.scatter_(1, index_NK.clamp(max=n_experts), values_NK)[:, :n_experts]
