"""Synthetic routing traces as large as a real model's; 48 experts separate the classes."""

import torch
from torch import Tensor

from mascing.routers.spec import RouterSpec
from mascing.traces.shards import encode
from mascing.traces.trace_set import SampleTrace, TraceSet, offsets

LAYERS, EXPERTS, TOP_K, TELLING, TOPICS = 16, 64, 8, 48, 8


def drawn_traces(n: int, seed: int, label: int | None = None, lengths: tuple[int, int] = (10, 120)) -> TraceSet:
    """``n`` traces of a length between ``lengths``; the classes alternate unless ``label`` is set.

    Each expert has its own level and each trace a topic. Most tokens of a positive trace carry the telling experts.
    """
    draw = torch.Generator().manual_seed(seed)
    levels_LE, topics, telling_LE = _world()
    counts = torch.randint(lengths[0], lengths[1] + 1, (n,), generator=draw).tolist()
    labels = torch.arange(n) % 2 if label is None else torch.full((n,), label)
    z_TLE = torch.empty(sum(counts), LAYERS, EXPERTS, dtype=torch.float16)
    for z_part, count, positive in zip(torch.split(z_TLE, counts), counts, labels.tolist(), strict=True):
        topic = int(torch.randint(TOPICS, (1,), generator=draw))
        noise = torch.randn(count, LAYERS, EXPERTS, generator=draw) + levels_LE + topics[topic]
        shown_T11 = positive * (torch.rand(count, 1, 1, generator=draw) < 0.6)
        z_part.copy_(noise + shown_T11 * telling_LE)
    names = [str(index) for index in range(n)]
    regions = torch.zeros(len(z_TLE), dtype=torch.uint8)
    selected = z_TLE.topk(TOP_K).indices.to(torch.uint8)
    return TraceSet(z_TLE, offsets(counts), labels, regions, names, names, selected)


def shard_of(traces: TraceSet) -> bytes:
    """The traces as one Parquet shard."""
    spec = RouterSpec("olmoe", tuple(range(LAYERS)), EXPERTS, TOP_K, "softmax")
    counts = traces.offsets.diff().tolist()
    tokens = [torch.split(values, counts) for values in (traces.z, traces.regions, traces.selected)]
    rows = zip(traces.ids, traces.groups, traces.labels.tolist(), *tokens, strict=True)
    return encode([SampleTrace(*row) for row in rows], spec)


def _world() -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(12345)
    levels_LE = 0.8 * torch.randn(LAYERS, EXPERTS, generator=draw)
    telling = torch.randperm(LAYERS * EXPERTS, generator=draw)[:TELLING]
    telling_LE = torch.zeros(LAYERS * EXPERTS)
    telling_LE[telling] = 1.5 * (2.0 * torch.randint(2, (TELLING,), generator=draw) - 1)
    topics = 0.5 * torch.randn(TOPICS, LAYERS, EXPERTS, generator=draw)
    return levels_LE, topics, telling_LE.view(LAYERS, EXPERTS)
