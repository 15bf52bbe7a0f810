"""Count which experts the tokens select on which no mask acts, while the model replies.

Shapes: B row of the batch, T token of the prompt, N token of all rows, L MoE layer, E expert, K selected.
"""

import torch
from torch import Tensor, nn

from mascing.errors import ModelError
from mascing.routers.selected_experts import watch_selections
from mascing.routers.spec import find_routers


class UnsteeredSelections:
    """Counts since the model was loaded; :attr:`tokens` says for the coming forwards which tokens count."""

    def __init__(self, model: nn.Module) -> None:
        routers = find_routers(model)
        self._layers = [router.layer_id for router in routers]
        self._experts = [router.n_experts for router in routers]
        self._counts = [torch.zeros(n, dtype=torch.long) for n in self._experts]
        self.tokens: Tensor | None = None
        """Those of the coming forward, bool [B, T]; None for none."""
        try:
            watch_selections(model, self._see)
        except ModelError:  # a family whose selections cannot be observed
            self._counts = []

    def by_layer(self) -> dict[int, list[int]]:
        """How often each expert was selected, by depth of the layer; empty if the model does not show it."""
        return {layer: counts_E.tolist() for layer, counts_E in zip(self._layers, self._counts, strict=False)}

    def _see(self, layer: int, ids_NK: Tensor) -> None:
        if self.tokens is None or self.tokens.numel() != len(ids_NK):
            return
        chosen = ids_NK[self.tokens.flatten().to(ids_NK.device)].flatten().cpu()
        n = self._experts[layer]
        self._counts[layer] += torch.bincount(chosen[chosen < n], minlength=n)
