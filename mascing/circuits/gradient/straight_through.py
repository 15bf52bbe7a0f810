"""Straight-through gradients for the selection of experts, so that experts a token did not select get one too.

Most families normalise weights over the selected experts, so the plain gradient of an unselected expert's logit is 0.
Here the forward pass stays the model's own. The backward pass treats an expert as selected with its probability under
noise, and as taking its weight from the selected experts.
Shape suffixes: N row (a token of a row of the batch), L MoE layer, E expert, K selected.
"""

from collections.abc import Callable
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
    it would not select otherwise. The noise is drawn anew for every value of ``turn`` and depends only on (seed, turn,
    layer), so a layer recomputed for its gradients sees the same noise. Sources: Bengio et al. (2013) for
    straight-through, Jang et al. (2017) for selection under Gumbel noise.
    """

    def __init__(self, model: nn.Module, sigma: Tensor, S_LE: Tensor, seed: int = 0) -> None:
        self.noise, self.turn = 0.0, 0
        self._sigma: list[float] = sigma.tolist()
        self._S_LE, self._seed = S_LE, seed
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
        self._logits.clear()

    def _edit(self, layer: int, logits_NE: Tensor) -> Tensor:
        steered_NE = logits_NE.float() + (self._sigma[layer] * self._S_LE[layer]).to(logits_NE.device)
        if self.noise > 0:
            steered_NE = steered_NE + self.noise * self._sigma[layer] * self._gumbel(layer, steered_NE)
        self._logits[layer] = steered_NE
        return steered_NE

    def _gumbel(self, layer: int, like_NE: Tensor) -> Tensor:
        seed = (self._seed * 1_000_003 + self.turn) * 1_000_003 + layer
        generator = torch.Generator().manual_seed(seed % 2**63)
        drawn_NE = torch.empty(like_NE.shape).exponential_(generator=generator)
        return -drawn_NE.log().to(like_NE.device)

    def _selection(self, layer: int) -> Callable[[nn.Module, tuple[Any, ...], Tensor], Tensor]:
        """Return a hook that adds 0 to the output of the layer's experts, with the gradient of selecting each."""

        def add(experts: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
            if len(inputs) != 3:  # llama4 runs all experts on inputs scaled by 0, so only noise reaches them
                return output
            hidden, index_NK, weights_NK = inputs
            exchanged_NE = _exchanged(self._logits.pop(layer), index_NK, weights_NK, SOFTNESS * self._sigma[layer])
            every_NE = torch.arange(exchanged_NE.shape[1], device=index_NK.device).expand_as(exchanged_NE)
            # Detached: only the selected experts pass gradients to the layers below.
            zero: Tensor = experts.forward(hidden.detach(), every_NE, exchanged_NE.to(weights_NK.dtype))
            return output + zero

        return add


def _exchanged(logits_NE: Tensor, index_NK: Tensor, weights_NK: Tensor, scale: float) -> Tensor:
    """Return zeros [N, E] whose gradient is that of all experts' weights under changing selection probabilities."""
    boundary_N1 = logits_NE.detach().topk(weights_NK.shape[1] + 1).values[:, -2:].mean(-1, keepdim=True)
    probability_NE = ((logits_NE - boundary_N1) / scale).sigmoid()
    held_NK = weights_NK.detach().float()
    total_N1 = held_NK.sum(-1, keepdim=True)
    gained_NE = total_N1 * (probability_NE - probability_NE.detach())
    n_rows, n_experts = gained_NE.shape
    # One column more takes the places that go to no expert (longcat); it is dropped.
    places_NK = index_NK.clamp(max=n_experts)
    share_NE = gained_NE.new_zeros(n_rows, n_experts + 1).scatter_(1, places_NK, held_NK / total_N1)[:, :n_experts]
    return gained_NE - share_NE * gained_NE.sum(-1, keepdim=True)
