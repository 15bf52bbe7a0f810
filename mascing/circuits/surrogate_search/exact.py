"""The paper's search, step by step: Adam over batches of negative traces, from a random S, for a number of epochs.

Source: MASCing (arXiv 2604.27818), expert circuit discovery. Where its text leaves details open (which traces, how S
starts), the search follows the published scripts.
Shape suffixes: M member of the ensemble, C lambda (one search each), N sample, T token, L MoE layer, E expert.
"""

from collections.abc import Iterator, Sequence
from copy import deepcopy

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from mascing.schemas.settings.method_settings import MascingConfig
from mascing.surrogates.surrogate import Surrogate
from mascing.traces.trace_set import Traces, TraceSet, shuffled_batches

BATCH = 16
"""Negative traces per step, as in the published scripts."""


def exact_search(
    members: Sequence[Surrogate], negatives: Traces, sigma: Tensor, config: MascingConfig, seed: int
) -> Tensor:
    """Return S of all lambdas before thresholding, float32 [C, L, E] in units of sigma.

    The searches share batches and start. Adam works entry by entry, so each search runs as it would alone.
    """
    return [S_CLE for _, S_CLE in epochs(members, negatives, sigma, config, seed)][-1]


def epochs(
    members: Sequence[Surrogate], negatives: Traces, sigma: Tensor, config: MascingConfig, seed: int
) -> Iterator[tuple[list[Tensor], Tensor]]:
    """Yield, after every epoch, the losses of its steps, [C] each, and S, [C, L, E]."""
    n_layers, n_experts = next(negatives.parts()).z.shape[1:]
    generator = torch.Generator().manual_seed(seed)
    device = members[0].device
    lambdas, sigma = torch.tensor(config.lambdas, device=device), sigma.to(device)
    start_LE = torch.nn.init.kaiming_uniform_(torch.empty(n_layers, n_experts), generator=generator)
    S_CLE = start_LE.to(device).repeat(len(lambdas), 1, 1).requires_grad_()
    optimizer = torch.optim.Adam([S_CLE], lr=config.learning_rate)
    frozen = [deepcopy(member).requires_grad_(False) for member in members]
    for _ in range(config.search_epochs):
        losses = []
        for part, batch in shuffled_batches(negatives, BATCH, generator, device):
            loss_C = _objective(frozen, part, batch, sigma, S_CLE, lambdas)
            optimizer.zero_grad()
            loss_C.sum().backward()
            optimizer.step()
            losses.append(loss_C.detach().cpu())
        yield losses, S_CLE.detach().cpu()


def _objective(
    members: Sequence[Surrogate],
    traces: TraceSet,
    indices: Tensor,
    sigma: Tensor,
    S_CLE: Tensor,
    lambdas: Tensor,
) -> Tensor:
    z_NTLE, mask_NT = traces.padded(indices)
    steered_CNTLE = z_NTLE + (sigma[:, None] * S_CLE)[:, None, None]
    n_searches = len(S_CLE)
    inputs = steered_CNTLE.flatten(0, 1), mask_NT.repeat(n_searches, 1)
    logits_MCN = torch.stack([member(*inputs).view(n_searches, -1) for member in members])
    bce_MCN = binary_cross_entropy_with_logits(logits_MCN, torch.ones_like(logits_MCN), reduction="none")
    return bce_MCN.mean(dim=(0, 2)) + lambdas * S_CLE.abs().sum(dim=(1, 2))
