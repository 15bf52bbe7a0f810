"""Count which experts the tokens of a batch select while the model replies, each row for itself.

Shapes: B row of the batch, T token of a row, N token of all rows, L MoE layer, E expert, K selected.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from mascing.errors import ModelError
from mascing.routers.selected_experts import watch_selections
from mascing.routers.spec import find_routers
from mascing.traces.counting import selections


class Selections:
    """Those of the rows of the latest batch, and of all unsteered rows since the model was loaded.

    :attr:`tokens` says for the coming forwards of a batch which tokens count.
    """

    def __init__(self, model: nn.Module) -> None:
        routers = find_routers(model)
        self._layers = [router.layer_id for router in routers]
        self._unsteered = [torch.zeros(router.n_experts, dtype=torch.long) for router in routers]
        self._rows: list[Tensor] = []  # [B, E] by layer
        self.tokens: Tensor | None = None
        """Those of the coming forward, bool [B, T]; None for none."""
        try:
            watch_selections(model, self._see)
        except ModelError:  # a family whose selections cannot be observed
            self._layers, self._unsteered = [], []

    @contextmanager
    def of_batch(self, unsteered_B: Tensor) -> Iterator[None]:
        """Count for a batch whose ``unsteered_B`` rows, bool [B], are added to those before once it is written."""
        self._rows = [torch.zeros(len(unsteered_B), len(so_far_E), dtype=torch.long) for so_far_E in self._unsteered]
        try:
            yield
        finally:
            self.tokens = None
        for so_far_E, counts_BE in zip(self._unsteered, self._rows, strict=True):
            so_far_E += counts_BE[unsteered_B].sum(0)

    def of_row(self, row: int) -> dict[int, list[int]]:
        """How often the counted tokens of a row selected each expert, as :meth:`by_layer`."""
        return {layer: counts_BE[row].tolist() for layer, counts_BE in zip(self._layers, self._rows, strict=True)}

    def by_layer(self) -> dict[int, list[int]]:
        """How often unsteered tokens selected each expert, by depth of the layer; empty if the model hides it."""
        return {layer: counts_E.tolist() for layer, counts_E in zip(self._layers, self._unsteered, strict=True)}

    def _see(self, layer: int, ids_NK: Tensor) -> None:
        if self.tokens is None:
            return
        chosen_N1K = ids_NK[self.tokens.flatten().to(ids_NK.device)].cpu()[:, None]
        row_N = self.tokens.nonzero()[:, 0]
        counts_BE = self._rows[layer]
        [now_BE] = selections(chosen_N1K, row_N, *counts_BE.shape)
        counts_BE += now_BE
