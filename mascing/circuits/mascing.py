"""The paper's search: a sparse steering matrix S that makes the surrogate predict the wanted behaviour.

Source: MASCing (arXiv 2604.27818), expert circuit discovery; what its text leaves open (which traces, how S starts)
follows its published scripts.
Shape suffixes: M member of the ensemble, C lambda (one search each), N sample, T token, L MoE layer, E expert.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from mascing.circuits.candidates import Candidate
from mascing.errors import DataError
from mascing.mask import Mask
from mascing.routers import RouterSpec
from mascing.surrogate import Surrogate
from mascing.traces import Traces, TraceSet, shuffled_batches
from schemas.config import MascingConfig, Span

NAME = "mascing"
BATCH = 16
"""Negative traces a step, as in the published scripts."""


def candidates(
    surrogates: Mapping[Span, Sequence[Surrogate]],
    traces: Traces,
    spec: RouterSpec,
    sigma: Tensor,
    config: MascingConfig,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> list[Candidate]:
    """One candidate a cell of spans x lambdas x alphas: the bias ``alpha * sigma[:, None] * S``.

    ``traces`` is the whole training split (all spans); ``sigma`` [L] is the calibrated spread of each layer's logits.
    Alphas only scale the S of their lambda. ``progress(done, total)`` counts epochs over all spans.
    """
    total = len(config.spans) * config.search_epochs
    found = []
    for turn, span in enumerate(config.spans):

        def report(epoch: int, before: int = turn * config.search_epochs) -> None:
            if progress is not None:
                progress(before + epoch, total)

        S_CLE = search(surrogates[span], traces.span(span), spec, sigma, config, seed, report)
        for weight, S_LE in zip(config.lambdas, S_CLE, strict=True):
            for alpha in config.alphas:
                cell = {"span": span, "lambda": weight, "alpha": alpha}
                mask = Mask.from_bias(alpha * sigma[:, None] * S_LE, spec, {"method": NAME, **cell})
                found.append(Candidate(NAME, cell, mask))
    return found


def search(
    members: Sequence[Surrogate],
    traces: Traces,
    spec: RouterSpec,
    sigma: Tensor,
    config: MascingConfig,
    seed: int,
    report: Callable[[int], None],
) -> Tensor:
    """The thresholded steering matrices of all lambdas, float32 [C, L, E] in units of sigma.

    Minimises ``mean BCE(f(z + sigma * S), positive) + lambda * |S|_1`` over the negative traces, those whose
    behaviour is to change, and over the ``members`` f of the ensemble. The searches share batches and start; Adam
    works entry by entry, so each is the search that it would be alone.
    """
    negatives = traces.labelled(0)
    if not any(len(part) for part in negatives.parts()):
        raise DataError("no negative traces: nothing in the training split needs steering")
    generator = torch.Generator().manual_seed(seed)
    lambdas = torch.tensor(config.lambdas)
    start_LE = torch.nn.init.kaiming_uniform_(torch.empty(spec.n_layers, spec.n_experts), generator=generator)
    S_CLE = start_LE.repeat(len(lambdas), 1, 1).requires_grad_()
    optimizer = torch.optim.Adam([S_CLE], lr=config.learning_rate)
    frozen = [deepcopy(member).requires_grad_(False) for member in members]
    for epoch in range(config.search_epochs):
        for part, batch in shuffled_batches(negatives, BATCH, generator):
            loss_C = _objective(frozen, part, batch, sigma, S_CLE, lambdas)
            optimizer.zero_grad()
            loss_C.sum().backward()
            optimizer.step()
        report(epoch + 1)
    found_CLE = S_CLE.detach()
    return torch.where(found_CLE.abs() > config.threshold, found_CLE, 0.0)


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
