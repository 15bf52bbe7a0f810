"""The harvest stage records router logits of the labelled contrast on the pool, one shard per range of rows.

Shapes: T token, L MoE layer, E expert.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from mascing.errors import DataError
from mascing.models.checkpoints import checkpoint_fingerprint
from mascing.routers.spec import RouterSpec, inspect_routers
from mascing.runs.files import traces_prefix
from mascing.runs.readers import contrast_of, conversations_of
from mascing.schemas.config import RunConfig
from mascing.schemas.conversation import Conversation, Split
from mascing.schemas.facts import HarvestFacts, RouterFacts
from mascing.schemas.finished import Harvested, Prepared
from mascing.schemas.manifest import Shard
from mascing.storage.manifests import StageOutput
from mascing.storage.object_storage import Storage
from mascing.tasks.running.actors import Pool, Worker
from mascing.tasks.running.identity import rendered_model_identity
from mascing.tasks.running.stage import Body, Finished, Placed, Recipe, run_stage, steps
from mascing.traces.batch_recording import harvest as record_traces
from mascing.traces.shards import encode
from mascing.traces.trace_set import REPLY, SampleTrace

# Surrogates and masks are made from the training traces; the dev traces measure how good a surrogate is.
_SPLITS: tuple[Split, ...] = ("train", "dev")


def harvest(storage: Storage, config: RunConfig, prepared: Prepared, *, pool: Pool) -> Finished[Harvested]:
    """Write ``traces-train-00000.parquet`` ... and ``traces-dev-00000.parquet`` ..."""
    checkpoint = checkpoint_fingerprint(config.model)
    return run_stage(
        storage,
        recipe(config, checkpoint, prepared),
        lambda output: _harvest(output, storage, config, prepared, pool, checkpoint),
    )


def recipe(config: RunConfig, checkpoint: str, prepared: Placed) -> Recipe[Harvested]:
    """The recipe that identifies the traces; ``checkpoint`` is the fingerprint of weights and tokenizer."""
    identity = {
        **rendered_model_identity(config, checkpoint),
        "rows_per_shard": config.harvest.rows_per_shard,
        "replies": _replies(config),
    }
    return Recipe(Harvested, config.behaviour.name, identity, {"prepare": prepared})


@dataclass(frozen=True)
class _Shared:
    config: RunConfig
    output: StageOutput[Harvested]


@dataclass(frozen=True)
class _Item:
    split: Split
    shard: str
    conversations: tuple[Conversation, ...]


@dataclass(frozen=True)
class _Recorded:
    """A stored shard and the statistics of its logits for the facts; ``mean`` and ``spread`` are [L]."""

    split: Split
    shard: Shard
    spec: RouterSpec
    positive: int
    tokens: int
    mean: Tensor
    spread: Tensor  # sum of squared distances to the mean


def _harvest(
    output: StageOutput[Harvested], storage: Storage, config: RunConfig, prepared: Prepared, pool: Pool, checkpoint: str
) -> Body:
    items = _items(storage, config, prepared)
    recorded = pool.map(_record_shard, _Shared(config, output), items, steps("harvest"))
    return Body(
        [part.shard for part in recorded],
        _facts([part for part in recorded if part.split == "train"], checkpoint),
        rows_in=sum(len(item.conversations) for item in items),
    )


def _facts(train: Sequence[_Recorded], checkpoint: str) -> HarvestFacts:
    positive = sum(part.positive for part in train)
    return HarvestFacts(
        checkpoint=checkpoint,
        spec=RouterFacts(**asdict(train[0].spec)),
        sigma=tuple(_sigma(train).tolist()),
        tokens=sum(part.tokens for part in train),
        positive=positive,
        negative=sum(part.shard.rows for part in train) - positive,
    )


def _replies(config: RunConfig) -> bool:
    return "reply" in config.methods.spans


def _items(storage: Storage, config: RunConfig, prepared: Prepared) -> list[_Item]:
    items: list[_Item] = []
    size = config.harvest.rows_per_shard
    for split in _SPLITS:
        contrast = contrast_of(conversations_of(storage, prepared, split))
        if _replies(config):
            _refuse_unknown_replies(split, contrast)
        items += [
            _Item(split, f"{traces_prefix(split)}{number:05d}.parquet", tuple(contrast[start : start + size]))
            for number, start in enumerate(range(0, len(contrast), size))
        ]
    return items


def _refuse_unknown_replies(split: Split, contrast: Sequence[Conversation]) -> None:
    """Raise DataError before the model runs, rather than in `TraceSet.span` afterwards."""
    unknown = [conversation for conversation in contrast if not conversation.own_reply]
    if unknown:
        raise DataError(
            f"{len(unknown)} of {len(contrast)} labelled target conversations in the {split} split, such as "
            f"{unknown[0].id!r}, do not say how the model replies by itself: the span `reply` needs `wanted` of every "
            "positive and `unwanted` of every negative conversation; add them, or remove `reply` from `spans` of the "
            "methods"
        )


def _record_shard(worker: Worker, shared: _Shared, item: _Item) -> _Recorded:
    loaded = worker.model(shared.config.model)
    spec = inspect_routers(loaded.model)
    samples = record_traces(loaded, item.conversations, shared.config.harvest.batch_tokens, _replies(shared.config))
    shard = shared.output.put(item.shard, encode(samples, spec), len(samples))
    mean, spread = _moments(samples, spec.n_layers)
    positive = sum(sample.label for sample in samples)
    tokens = sum(int((sample.regions != REPLY).sum()) for sample in samples)
    return _Recorded(item.split, shard, spec, positive, tokens, mean, spread)


def _moments(samples: Sequence[SampleTrace], n_layers: int) -> tuple[Tensor, Tensor]:
    mean, spread = torch.empty(n_layers, dtype=torch.float64), torch.empty(n_layers, dtype=torch.float64)
    for layer in range(n_layers):
        z_TE = torch.cat([sample.z[sample.regions != REPLY, layer] for sample in samples]).double()
        mean[layer] = z_TE.mean()
        spread[layer] = (z_TE - mean[layer]).square().sum()
    return mean, spread


def _sigma(parts: Sequence[_Recorded]) -> Tensor:
    """Standard deviation over experts and tokens before the reply, float32 [L], from the shards' moments in order.

    It equals TraceSet.sigma of all traces, without loading them at once.
    """
    weight = torch.tensor([float(part.tokens) for part in parts], dtype=torch.float64)[:, None]
    means = torch.stack([part.mean for part in parts])
    mean = (weight * means).sum(dim=0) / weight.sum()
    between = (weight * (means - mean).square()).sum(dim=0) * parts[0].spec.n_experts
    spread = torch.stack([part.spread for part in parts]).sum(dim=0) + between
    return (spread / (weight.sum() * parts[0].spec.n_experts)).sqrt().float()
