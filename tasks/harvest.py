"""The harvest stage: router logits of the labelled contrast, one shard a range of rows, on the pool.

Shapes: T token, L MoE layer, E expert.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mascing.conversations.splits import Split
from mascing.errors import DataError
from mascing.models.loading import checkpoint_fingerprint
from mascing.routers.spec import RouterSpec, inspect_routers
from mascing.schemas.config import RunConfig
from mascing.schemas.conversation import Conversation
from mascing.schemas.manifest import Manifest, Shard
from mascing.storage.manifests import StageOutput, read_shard
from mascing.storage.object_storage import Storage
from mascing.tasks.prepare import contrast_of, conversations_of
from mascing.tasks.running.actors import Pool, Worker
from mascing.tasks.running.stage import Body, StageRun, run_stage, steps
from mascing.traces.batch_recording import harvest as record_traces
from mascing.traces.shards import encode
from mascing.traces.stored import StoredTraces
from mascing.traces.trace_set import REPLY, SampleTrace

# Traces of the training split make surrogates and masks; those of the dev split tell how good a surrogate is.
_SPLITS: tuple[Split, ...] = ("train", "dev")


def harvest(storage: Storage, config: RunConfig, prepared: Manifest, *, pool: Pool) -> StageRun:
    """``traces-00000.parquet`` ... of the training split and ``traces-dev-00000.parquet`` ... of the dev split.

    Facts: the router ``spec``, ``sigma`` [L] of the training split, its ``tokens``, ``positive`` and ``negative``
    counts, and the ``checkpoint`` that everything downstream is identified by.
    """
    checkpoint = checkpoint_fingerprint(config.model)
    return run_stage(
        storage,
        "harvest",
        config.behaviour.name,
        identity={
            "checkpoint": checkpoint,
            "dtype": config.model.dtype,
            "attn_implementation": config.model.attn_implementation,
            "rows_per_shard": config.harvest.rows_per_shard,
            "replies": _replies(config),
        },
        inputs={"prepare": prepared},
        body=lambda output: _harvest(output, storage, config, prepared, pool, checkpoint),
    )


def spec_of(harvested: Manifest) -> RouterSpec:
    """The routers of the harvested model."""
    return RouterSpec.from_json(harvested.facts["spec"])


def traces_of(storage: Storage, harvested: Manifest, split: Split) -> StoredTraces:
    """The traces of a split, in the order of its conversations, read when they are needed."""
    sizes = {shard.name: shard.bytes for shard in harvested.shards if _split_of(shard.name) == split}
    return StoredTraces(lambda name: read_shard(storage, harvested, name), sizes)


def sigma_of(harvested: Manifest) -> Tensor:
    """The calibrated spread of each layer's logits over the training split, float32 [L]."""
    return torch.tensor(harvested.facts["sigma"])


@dataclass(frozen=True)
class _Shared:
    config: RunConfig
    output: StageOutput


@dataclass(frozen=True)
class _Item:
    shard: str
    conversations: tuple[Conversation, ...]


@dataclass(frozen=True)
class _Harvested:
    """A stored shard, and of its logits what the stage's facts are made of; ``mean`` and ``spread`` are [L]."""

    shard: Shard
    spec: RouterSpec
    positive: int
    tokens: int
    mean: Tensor
    spread: Tensor  # sum of squared distances to the mean


def _harvest(
    output: StageOutput, storage: Storage, config: RunConfig, prepared: Manifest, pool: Pool, checkpoint: str
) -> Body:
    items: list[_Item] = []
    for split in _SPLITS:
        contrast = contrast_of(conversations_of(storage, prepared, split))
        if _replies(config):
            _refuse_unknown_replies(split, contrast)
        items += _items(split, contrast, config.harvest.rows_per_shard)
    made = pool.map(_harvest_shard, _Shared(config, output), items, steps("harvest"))
    train = [one for one in made if _split_of(one.shard.name) == "train"]
    positive = sum(one.positive for one in train)
    return Body(
        [one.shard for one in made],
        rows_in=sum(len(item.conversations) for item in items),
        facts={
            "checkpoint": checkpoint,
            "spec": made[0].spec.to_json(),
            "sigma": _sigma(train).tolist(),
            "tokens": sum(one.tokens for one in train),
            "positive": positive,
            "negative": sum(one.shard.rows for one in train) - positive,
        },
    )


def _replies(config: RunConfig) -> bool:
    return "reply" in config.methods.spans


def _refuse_unknown_replies(split: Split, contrast: Sequence[Conversation]) -> None:
    """Say before the model runs what `TraceSet.span` would say after it."""
    unknown = [one for one in contrast if not one.own_reply]
    if unknown:
        raise DataError(
            f"{len(unknown)} of {len(contrast)} labelled target conversations in the {split} split, such as "
            f"{unknown[0].id!r}, do not say how the model replies by itself: the span `reply` needs `wanted` of every "
            "positive and `unwanted` of every negative one; add them, or leave `reply` out of the methods' `spans`"
        )


def _items(split: Split, conversations: Sequence[Conversation], rows_per_shard: int) -> list[_Item]:
    name = "traces" if split == "train" else f"traces-{split}"
    return [
        _Item(f"{name}-{number:05d}.parquet", tuple(conversations[start : start + rows_per_shard]))
        for number, start in enumerate(range(0, len(conversations), rows_per_shard))
    ]


def _split_of(shard_name: str) -> Split:
    return "dev" if shard_name.startswith("traces-dev-") else "train"


def _harvest_shard(worker: Worker, shared: _Shared, item: _Item) -> _Harvested:
    loaded = worker.model(shared.config.model)
    spec = inspect_routers(loaded.model)
    samples = record_traces(loaded, item.conversations, shared.config.harvest.batch_tokens, _replies(shared.config))
    shard = shared.output.put(item.shard, encode(samples, spec), len(samples))
    mean, spread = _moments(samples, spec.n_layers)
    positive = sum(one.label for one in samples)
    tokens = sum(int((one.regions != REPLY).sum()) for one in samples)
    return _Harvested(shard, spec, positive, tokens, mean, spread)


def _moments(samples: Sequence[SampleTrace], n_layers: int) -> tuple[Tensor, Tensor]:
    mean, spread = torch.empty(n_layers, dtype=torch.float64), torch.empty(n_layers, dtype=torch.float64)
    for layer in range(n_layers):
        z_TE = torch.cat([sample.z[sample.regions != REPLY, layer] for sample in samples]).double()
        mean[layer] = z_TE.mean()
        spread[layer] = (z_TE - mean[layer]).square().sum()
    return mean, spread


def _sigma(parts: Sequence[_Harvested]) -> Tensor:
    """Standard deviation over experts and tokens before the reply, float32 [L], from the shards' moments in order.

    What TraceSet.sigma is of all traces, without holding them at once.
    """
    weight = torch.tensor([float(part.tokens) for part in parts], dtype=torch.float64)[:, None]
    means = torch.stack([part.mean for part in parts])
    mean = (weight * means).sum(dim=0) / weight.sum()
    between = (weight * (means - mean).square()).sum(dim=0) * parts[0].spec.n_experts
    spread = torch.stack([part.spread for part in parts]).sum(dim=0) + between
    return (spread / (weight.sum() * parts[0].spec.n_experts)).sqrt().float()
