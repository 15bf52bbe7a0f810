"""Gradients through the selection of experts: straight-through, so that experts a token did not select have one too.

Most families weigh the selected experts among themselves, so the plain gradient of an unselected expert's logit is 0.
Here the forward stays the model's own; backwards, an expert is taken for selected with the chance that it has under
noise, and for taking its weight from those that are there.
Shape suffixes: N row (a token of a row of the batch), L MoE layer, E expert, K selected.
"""

from collections.abc import Callable
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from mascing.routers.spec import Router, find_routers, uncompiled
from mascing.routers.tap import tap_routers

SOFTNESS = 1.0
"""Scale, in sigma of the layer, of the noise under which selection is a chance backwards."""


class StraightThrough:
    """``sigma * S`` added to the router logits, differentiable in S [L, E], while the block runs.

    ``noise``, in sigma, is the scale of Gumbel noise on the logits (0 is none), with which experts are selected that
    the model would not select. It is drawn anew for every value of ``turn``, from (seed, turn, layer) and nothing else,
    so that a layer that is computed again for its gradients finds its noise again. Sources: Bengio et al. (2013) for
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
            if (experts := _experts_of(self._model, router)) is not None
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
        """A hook that adds 0 to what the layer's experts return: its gradient is that of selecting each of them."""

        def add(experts: nn.Module, given: tuple[Any, ...], output: Tensor) -> Tensor:
            if len(given) != 3:  # llama4 runs all experts, on inputs scaled by 0: noise alone reaches them
                return output
            hidden, index_NK, weights_NK = given
            exchanged_NE = _exchanged(self._logits.pop(layer), index_NK, weights_NK, SOFTNESS * self._sigma[layer])
            every_NE = torch.arange(exchanged_NE.shape[1], device=index_NK.device).expand_as(exchanged_NE)
            # Detached: what reaches the layers below goes through the experts that were selected.
            nothing: Tensor = experts.forward(hidden.detach(), every_NE, exchanged_NE.to(weights_NK.dtype))
            return output + nothing

        return add


def _exchanged(logits_NE: Tensor, index_NK: Tensor, weights_NK: Tensor, scale: float) -> Tensor:
    """Zeros [N, E] that differentiate like the weights of all experts as their chances of selection change."""
    boundary_N1 = logits_NE.detach().topk(weights_NK.shape[1] + 1).values[:, -2:].mean(-1, keepdim=True)
    chance_NE = ((logits_NE - boundary_N1) / scale).sigmoid()
    held_NK = weights_NK.detach().float()
    total_N1 = held_NK.sum(-1, keepdim=True)
    gained_NE = total_N1 * (chance_NE - chance_NE.detach())
    share_NE = torch.zeros_like(gained_NE).scatter_(1, index_NK, held_NK / total_N1)
    return gained_NE - share_NE * gained_NE.sum(-1, keepdim=True)


def _experts_of(model: nn.Module, router: Router) -> nn.Module | None:
    """The experts beside a router."""
    experts = getattr(model.get_submodule(router.name.rpartition(".")[0]), "experts", None)
    return experts if isinstance(experts, nn.Module) else None
