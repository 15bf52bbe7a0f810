"""Synthetic routing traces in which one expert separates the two classes."""

from collections.abc import Sequence

import torch

from mascing.routers.spec import RouterSpec
from mascing.traces.trace_set import TraceSet

SPEC = RouterSpec("olmoe", (0, 1, 2), 8, 2, "softmax")
TELLING = (1, 3)
"""Layer and expert whose logit is higher in positive samples."""


def traces(n: int = 60, seed: int = 0, shift: float = 2.0, lengths: Sequence[int] | None = None) -> TraceSet:
    """``n`` samples of 4 to 9 tokens, the last two of each in the prompt region; 3 layers, 8 experts."""
    generator = torch.Generator().manual_seed(seed)
    counts = torch.tensor(lengths) if lengths is not None else torch.randint(4, 10, (n,), generator=generator)
    offsets = torch.cat([torch.zeros(1, dtype=torch.long), counts.cumsum(0)])
    labels = torch.arange(n) % 2
    z_TLE = torch.randn(int(offsets[-1]), SPEC.n_layers, SPEC.n_experts, generator=generator)
    z_TLE[:, TELLING[0], TELLING[1]] += shift * labels.repeat_interleave(counts)
    regions = torch.zeros(len(z_TLE), dtype=torch.uint8)
    regions[torch.cat([offsets[1:] - 1, offsets[1:] - 2])] = 1
    names = [str(number) for number in range(n)]
    return TraceSet(z_TLE.half(), offsets, labels, regions, names, names, raw_top_k(z_TLE))


def raw_top_k(z_TLE: torch.Tensor, top_k: int = SPEC.top_k) -> torch.Tensor:
    """What a router without correction or groups selects, [T, L, K]."""
    return z_TLE.topk(top_k, dim=-1).indices.to(torch.uint8)
