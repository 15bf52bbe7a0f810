"""Masks as edits of router logits and corrected scores.

Shapes: L MoE layer, E expert, R row of the batch, N token of all rows.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from mascing.masks.mask import Mask
from mascing.masks.override import corrected_score_change, group_lead, override
from mascing.masks.rules import BiasRule, OverrideRule, Rule
from mascing.routers.spec import Router
from mascing.steering.forwards import Running


class Edits:
    """Masks as tensors on the routers' devices: [E] for one mask, [R, 1, E] for the masks of R rows."""

    def __init__(
        self,
        routers: Sequence[Router],
        masks: Sequence[Mask | None],
        scoring: str,
        running: Callable[[], Running | None],
    ) -> None:
        """Place the masks; their rules are fixed from here on. ``running`` says what the forward that runs holds."""
        self._running = running
        self.rules = {mask.rule.name for mask in masks if mask is not None}
        self._rows = len(masks)
        self._routers = routers
        self._lead = [group_lead(router.groups, router.correction is not None, scoring) for router in routers]
        n_experts = routers[0].n_experts
        devices = [router.weight.device for router in routers]
        row_shape = () if len(masks) == 1 else (len(masks), 1)
        shape = (*row_shape, n_experts)
        self._bias = [torch.zeros(shape, device=device) for device in devices]
        self._on = [torch.zeros(shape, device=device, dtype=torch.bool) for device in devices]
        self._off = [torch.zeros(shape, device=device, dtype=torch.bool) for device in devices]
        self._choice = [torch.zeros(shape, device=device) for device in devices]
        self._epsilon = [torch.ones((*row_shape, 1), device=device) for device in devices]
        with torch.inference_mode(False):
            self.tallies = [torch.zeros((), dtype=torch.long, device=device) for device in devices]
        self.write(masks)

    def write(self, masks: Sequence[Mask | None]) -> None:
        """Copy masks in place, so that compiled graphs read the new ones."""
        shape = torch.Size((len(self._bias), self._bias[0].shape[-1]))
        edits = [_edit(mask.rule if mask else None, shape) for mask in masks]
        biases, activated, deactivated, epsilons = zip(*edits, strict=True)
        choices = [choice_change_LE(self._routers, on_LE, off_LE) for _, on_LE, off_LE, _ in edits]
        epsilon = torch.tensor(epsilons)
        for placed, rows in (
            (self._bias, biases),
            (self._on, activated),
            (self._off, deactivated),
            (self._choice, choices),
        ):
            stacked_RLE = torch.stack(list(rows))
            for layer, tensor in enumerate(placed):
                tensor.copy_(stacked_RLE[:, layer].view(tensor.shape))
        for tensor in self._epsilon:
            tensor.copy_(epsilon.view(tensor.shape))

    def logits(self, layer: int, logits: Tensor) -> Tensor:
        """Edit router logits [N, E] of one layer; mask r applies to rows r * N / R to (r + 1) * N / R."""
        edited = self._by_row(logits)
        if "bias" in self.rules:
            edited = (edited + self._bias[layer]).to(logits.dtype)
        if "override" in self.rules:
            edited = override(edited, self._on[layer], self._off[layer], self._epsilon[layer], self._lead[layer])
        running = self._running()
        if running is not None:
            count = running.count
            self.tallies[layer].add_(count if isinstance(count, int) else count.to(self.tallies[layer].device))
        return _where_it_acts(running, edited.view(logits.shape), logits)

    def choice(self, layer: int, scores: Tensor) -> Tensor:
        """Edit the corrected scores [N, E] by which correction-bias routers select, so that forced experts hold."""
        edited = (self._by_row(scores) + self._choice[layer].to(scores.dtype)).view(scores.shape)
        return _where_it_acts(self._running(), edited, scores)

    def _by_row(self, values: Tensor) -> Tensor:
        return values if self._rows == 1 else values.view(self._rows, -1, values.shape[-1])


def _where_it_acts(running: Running | None, edited: Tensor, plain: Tensor) -> Tensor:
    """The edited values [N, E] of the tokens that the masks act on, and the plain ones of all others."""
    if running is None or running.acts_N1 is None:
        return edited
    return torch.where(running.acts_N1.to(plain.device), edited, plain)


class Corrected(Protocol):
    """A router as far as its selection is corrected, in whatever engine it runs."""

    @property
    def n_experts(self) -> int:
        """Number of experts, E."""
        ...

    @property
    def correction(self) -> Tensor | None:
        """The vector added to the scores only for selection, or None."""
        ...

    @property
    def groups(self) -> tuple[int, int] | None:
        """(number of groups, groups kept) if selection is limited to groups of experts."""
        ...


def choice_change_LE(routers: Sequence[Corrected], on_LE: Tensor, off_LE: Tensor) -> Tensor:
    """What an override adds to the corrected scores of each router, [L, E]; zeros where a router has no correction."""
    changes = [
        torch.zeros(on_E.shape)
        if router.correction is None
        else corrected_score_change(
            on_E, off_E, router.correction.detach().flatten()[: router.n_experts].cpu(), router.groups is not None
        )
        for router, on_E, off_E in zip(routers, on_LE, off_LE, strict=True)
    ]
    return torch.stack(changes)


def _edit(rule: Rule | None, shape: torch.Size) -> tuple[Tensor, Tensor, Tensor, float]:
    """A rule in the terms of both rules: bias, activated and deactivated [L, E], and epsilon."""
    nothing_LE = torch.zeros(shape)
    match rule:
        case None:
            return nothing_LE, nothing_LE.bool(), nothing_LE.bool(), 1.0
        case BiasRule(bias_LE):
            return bias_LE, nothing_LE.bool(), nothing_LE.bool(), 1.0
        case OverrideRule(activated_LE, deactivated_LE, epsilon=epsilon):
            return nothing_LE, activated_LE, deactivated_LE, epsilon
