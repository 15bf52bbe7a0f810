"""Fit surrogates to lessons, and search for a mask through them.

Shape suffixes: M member of the ensemble, N sample, T token, L MoE layer, E expert.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from mascing.circuits.active.lessons import Lessons
from mascing.routers.spec import RouterSpec
from mascing.surrogates.surrogate import BATCH, LEARNING_RATE, Surrogate

SEARCH_RATE = 0.05
THRESHOLD = 0.1
"""Adam's learning rate, and the size up to which entries of S become 0, both as in the paper's search."""


def learn(members: Sequence[Surrogate], lessons: Lessons, steps: int, generator: torch.Generator) -> None:
    """Train each member further, where it is, to predict outcomes from biased logits of lessons that are drawn."""
    for member in members:
        member.requires_grad_(True).train()
        optimizer = torch.optim.Adam(member.parameters(), lr=LEARNING_RATE)
        for _ in range(steps):
            batch = lessons.drawn(BATCH, generator, member.device)
            logits_N = member(batch.z_NTLE + batch.bias_NLE[:, None], batch.mask_NT)
            optimizer.zero_grad()
            binary_cross_entropy_with_logits(logits_N, batch.hit_N).backward()
            optimizer.step()
        member.requires_grad_(False).eval()


def search(
    members: Sequence[Surrogate],
    lessons: Lessons,
    sigma: Tensor,
    l1: float,
    steps: int,
    generator: torch.Generator,
    start_LE: Tensor,
) -> Tensor:
    """Search for S [L, E] with which the members predict a hit in every lesson that wants one.

    The non-zero entries of S have root mean square 1. Minimises ``mean BCE(f(z + sigma * S), hit) + l1 * |S|_1`` from
    ``start_LE``. The logits z were recorded under earlier proposals but do not include their bias, so in deeper layers
    they already show the effect of such masks.
    """
    device = members[0].device
    S_LE = start_LE.to(device, copy=True).requires_grad_()
    sigma = sigma.to(device)
    optimizer = torch.optim.Adam([S_LE], lr=SEARCH_RATE)
    for _ in range(steps):
        batch = lessons.drawn(BATCH, generator, device, wanted=True)
        steered_NTLE = batch.z_NTLE + sigma[:, None] * S_LE
        logits_MN = torch.stack([member(steered_NTLE, batch.mask_NT) for member in members])
        optimizer.zero_grad()
        loss = binary_cross_entropy_with_logits(logits_MN, torch.ones_like(logits_MN))
        (loss + l1 * S_LE.abs().sum()).backward()
        optimizer.step()
    optimum_LE = S_LE.detach().cpu()
    return unit(torch.where(optimum_LE.abs() > THRESHOLD, optimum_LE, 0.0))


def noise(spec: RouterSpec, generator: torch.Generator) -> Tensor:
    """Return a random start [L, E] for `search` while nothing is known yet."""
    return 0.01 * torch.randn(spec.n_layers, spec.n_experts, generator=generator)


def unit(S_LE: Tensor) -> Tensor:
    """Scale S so that its non-zero entries have root mean square 1; an all-zero S stays zero."""
    return S_LE * (S_LE.count_nonzero() / S_LE.square().sum().clamp(min=1e-12)).sqrt()
