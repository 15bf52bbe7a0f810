"""Masks from the strongest experts of an ensemble's activation pattern.

Shape suffixes: L MoE layer, E expert.
"""

from collections.abc import Mapping, Sequence
from itertools import product

import torch
from torch import Tensor

from mascing.circuits.consensus.pattern import agreement, consensus, patterns
from mascing.circuits.method import Proposal
from mascing.masks.candidates import Candidate
from mascing.masks.mask import Mask
from mascing.routers.spec import RouterSpec
from mascing.schemas.settings.method_settings import ConsensusConfig, Span
from mascing.surrogates.surrogate import Surrogate
from mascing.traces.trace_set import Traces

NAME = "consensus"


def candidates(
    surrogates: Mapping[Span, Sequence[Surrogate]],
    traces: Traces,
    spec: RouterSpec,
    sigma: Tensor,
    config: ConsensusConfig,
) -> Proposal:
    """Return one candidate per cell of spans x shares x alphas, with bias ``alpha * sigma[:, None] * S``.

    ``traces`` is the whole training split (all spans), ``sigma`` [L] the calibrated spread of each layer's logits. S is
    the consensus of the ensemble's patterns on the share of all experts where it is strongest. Its entries have root
    mean square 1. There is no randomness: the seed matters only through the surrogates.
    """
    proposed, notes = [], []
    for span in config.spans:
        patterns_MLE = patterns(surrogates[span], traces.span(span))
        pattern_LE = consensus(patterns_MLE)
        notes.append(
            f"{NAME}: the patterns of {len(patterns_MLE)} surrogates of {span} have a mean cosine of "
            f"{agreement(patterns_MLE):.2f}"
        )
        for share, alpha in product(config.shares, config.alphas):
            S_LE = strongest(pattern_LE, max(1, round(share * pattern_LE.numel())))
            cell = {"span": span, "share": share, "alpha": alpha}
            mask = Mask.from_bias(alpha * sigma[:, None] * S_LE, spec, {"method": NAME, **cell})
            proposed.append(Candidate(NAME, cell, mask))
    return Proposal(proposed, note="; ".join(notes))


def strongest(pattern_LE: Tensor, n: int) -> Tensor:
    """Return the ``n`` strongest entries of the pattern with root mean square 1, and 0 elsewhere: [L, E]."""
    flat = pattern_LE.flatten()
    chosen = flat.abs().argsort(descending=True, stable=True)[:n]
    kept = torch.zeros_like(flat)
    kept[chosen] = flat[chosen]
    return (kept / kept[kept != 0].square().mean().sqrt().nan_to_num(1.0)).view_as(pattern_LE)
