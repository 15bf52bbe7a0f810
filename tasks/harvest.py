"""The harvest stage records router logits of the labelled contrast on the pool, one shard per piece of rows.

Shapes: T token, L MoE layer, E expert.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from mascing.conversations.intake.reasons import summary
from mascing.conversations.parquet_tables import quarantine_table
from mascing.errors import DataError
from mascing.models.loading import Loaded
from mascing.routers.spec import RouterSpec, inspect_routers
from mascing.runs.files import traces_prefix
from mascing.runs.readers import contrast_of, conversations_of
from mascing.schemas.config import RunConfig
from mascing.schemas.conversation import Conversation, Split
from mascing.schemas.facts import HarvestFacts, RouterFacts
from mascing.schemas.finished import Harvested, Labelled
from mascing.schemas.manifest import Shard
from mascing.storage import parquet
from mascing.storage.fingerprint import fingerprint
from mascing.storage.manifests import QUARANTINE, StageOutput, shard_at
from mascing.storage.object_storage import Storage
from mascing.tasks.running.actors import Pool, Worker
from mascing.tasks.running.identity import rendered_model_identity
from mascing.tasks.running.isolation import (
    Failed,
    halves_of,
    map_surviving,
    quarantined,
    refuse_many,
    surviving,
    tell_set_aside,
)
from mascing.tasks.running.pieces import by_id, pieces_of, stored
from mascing.tasks.running.stage import Body, Finished, Part, Placed, Recipe, run_stage, steps
from mascing.traces.batch_recording import harvest as record_traces
from mascing.traces.shards import decode, encode
from mascing.traces.trace_set import REPLY, SampleTrace, refuse_non_logits

# Surrogates and masks are made from the training traces; the dev traces measure how good a surrogate is.
_SPLITS: tuple[Split, ...] = ("train", "dev")


def harvest(storage: Storage, config: RunConfig, labelled: Labelled, *, pool: Pool) -> Finished[Harvested]:
    """Record ``traces-train-00000.parquet`` ... and ``traces-dev-00000.parquet`` ... as pieces.

    A conversation that cannot be recorded goes to ``quarantine.parquet``. Raises DataError if these are too many.
    """
    checkpoint = labelled.facts.checkpoint
    contrast = {split: contrast_of(conversations_of(storage, labelled, split)) for split in _SPLITS}
    read = Part(labelled, fingerprint([_seen(config, row) for rows in contrast.values() for row in rows]))
    shared = _Shared(config, storage, checkpoint)
    finished = run_stage(
        storage, recipe(config, checkpoint, read), lambda output: _harvest(output, shared, contrast, pool)
    )
    refuse_many(storage, finished.manifest, config.max_quarantined)
    tell_set_aside(storage, finished.manifest)
    return finished


def recipe(config: RunConfig, checkpoint: str, labelled: Placed) -> Recipe[Harvested]:
    """The recipe that identifies the traces; ``checkpoint`` is the fingerprint of weights and tokenizer."""
    identity = {
        **rendered_model_identity(config, checkpoint),
        "rows_per_shard": config.harvest.rows_per_shard,
        "replies": _replies(config),
    }
    return Recipe(Harvested, config.behaviour.name, identity, {"label": labelled})


@dataclass(frozen=True)
class _Shared:
    config: RunConfig
    storage: Storage
    checkpoint: str


@dataclass(frozen=True)
class _Item:
    split: Split
    conversations: tuple[Conversation, ...]

    @property
    def halves(self) -> list["_Item"]:
        """The item in two, or nothing if it has one conversation."""
        return [_Item(self.split, part) for part in halves_of(self.conversations)]


@dataclass(frozen=True)
class _Recorded:
    """A stored piece, and the reasons why conversations are missing from it, by id.

    The statistics of its logits are for the facts: ``mean`` and ``spread`` are [L]. ``stored`` is None if no
    conversation could be recorded.
    """

    split: Split
    stored: "_Stored | None"
    failed: Mapping[str, str]


@dataclass(frozen=True)
class _Stored:
    piece: Shard
    spec: RouterSpec
    positive: int
    tokens: int
    mean: Tensor
    spread: Tensor  # sum of squared distances to the mean


def _harvest(
    output: StageOutput[Harvested], shared: _Shared, contrast: Mapping[Split, Sequence[Conversation]], pool: Pool
) -> Body:
    items = _items(shared.config, contrast)
    recorded = map_surviving(
        pool,
        _record,
        shared,
        items,
        steps("harvest"),
        halves=lambda item: item.halves,
        lost=lambda item, failed: _Recorded(item.split, None, {item.conversations[0].id: failed.reason}),
        size=lambda item: len(item.conversations),
    )
    rows = [conversation for item in items for conversation in item.conversations]
    failed = {name: reason for part in recorded for name, reason in part.failed.items()}
    quarantine = [
        quarantined(number, conversation, failed[conversation.id])
        for number, conversation in enumerate(rows, start=1)
        if conversation.id in failed
    ]
    shards = _named(recorded)
    shards.append(output.put(QUARANTINE, parquet.to_bytes(quarantine_table(quarantine)), len(quarantine)))
    train = [part.stored for part in recorded if part.split == "train" and part.stored is not None]
    if not train:
        raise DataError(f"harvest: no conversation of the train split can be recorded: {summary(quarantine, 'row')}")
    facts = _facts(train, shared.checkpoint, tuple(sorted(failed)))
    return Body(shards, facts, rows_in=len(rows), rows_quarantined=len(quarantine))


def _named(recorded: Sequence[_Recorded]) -> list[Shard]:
    """The pieces as shards of this stage, numbered by split."""
    shards = []
    for split in _SPLITS:
        pieces = [part.stored.piece for part in recorded if part.split == split and part.stored is not None]
        shards += [
            piece.model_copy(update={"name": f"{traces_prefix(split)}{number:05d}.parquet"})
            for number, piece in enumerate(pieces)
        ]
    return shards


def _facts(train: Sequence[_Stored], checkpoint: str, failed: tuple[str, ...]) -> HarvestFacts:
    positive = sum(part.positive for part in train)
    return HarvestFacts(
        checkpoint=checkpoint,
        spec=RouterFacts(**asdict(train[0].spec)),
        sigma=tuple(_sigma(train).tolist()),
        tokens=sum(part.tokens for part in train),
        positive=positive,
        negative=sum(part.piece.rows for part in train) - positive,
        quarantined=failed,
    )


def _replies(config: RunConfig) -> bool:
    return "reply" in config.methods.spans


def _items(config: RunConfig, contrast: Mapping[Split, Sequence[Conversation]]) -> list[_Item]:
    items: list[_Item] = []
    for split, rows in contrast.items():
        items += [_Item(split, tuple(piece)) for piece in pieces_of(rows, config.harvest.rows_per_shard, by_id)]
    return items


def _record(worker: Worker, shared: _Shared, item: _Item) -> _Recorded:
    """Store the traces of the item's conversations as one piece, or find it stored."""
    loaded = worker.model(shared.config.model)
    spec = inspect_routers(loaded.model)
    failed: dict[str, str] = {}

    def record(rows: Sequence[Conversation]) -> bytes | None:
        samples = surviving(partial(_samples, loaded, shared.config), rows)
        reasons = {
            row.id: sample.reason for row, sample in zip(rows, samples, strict=True) if isinstance(sample, Failed)
        }
        failed.update(reasons)
        return None if reasons else encode([sample for sample in samples if isinstance(sample, SampleTrace)], spec)

    rows = item.conversations
    piece = _piece(shared, rows, record)
    if piece is None:
        rows = tuple(row for row in rows if row.id not in failed)
        piece = _piece(shared, rows, record) if rows else None
    return _Recorded(item.split, _stored(piece, spec, len(rows)) if piece is not None else None, failed)


def _samples(loaded: Loaded, config: RunConfig, rows: Sequence[Conversation]) -> list[SampleTrace]:
    """The traces of the rows, refused if they are not raw logits."""
    samples = record_traces(loaded, rows, config.harvest.batch_tokens, _replies(config))
    refuse_non_logits([sample.z for sample in samples])
    return samples


def _piece(
    shared: _Shared, rows: Sequence[Conversation], record: Callable[[Sequence[Conversation]], bytes | None]
) -> tuple[str, bytes] | None:
    """Path and bytes of the stored traces of these rows; None if one of them cannot be recorded."""
    identity = {
        "version": Harvested.recipe_version(),
        **rendered_model_identity(shared.config, shared.checkpoint),
        "rows": [_seen(shared.config, row) for row in rows],
    }
    path = f"traces/{fingerprint(identity)}.parquet"
    data = stored(shared.storage, path, lambda: record(rows))
    return None if data is None else (path, data)


def _seen(config: RunConfig, row: Conversation) -> list[Any]:
    """What recording reads of a conversation."""
    turns = [[turn.role, turn.content] for turn in row.messages]
    return [row.id, row.group_id, row.label, turns, row.own_reply if _replies(config) else None]


def _stored(piece: tuple[str, bytes], spec: RouterSpec, rows: int) -> _Stored:
    path, data = piece
    traces = decode([data])
    before_T = traces.regions != REPLY
    mean, spread = _moments(traces.z[before_T])
    return _Stored(shard_at(path, data, rows), spec, int(traces.labels.sum()), int(before_T.sum()), mean, spread)


def _moments(z_TLE: Tensor) -> tuple[Tensor, Tensor]:
    n_layers = z_TLE.shape[1]
    mean, spread = torch.empty(n_layers, dtype=torch.float64), torch.empty(n_layers, dtype=torch.float64)
    for layer in range(n_layers):
        z_TE = z_TLE[:, layer].double()
        mean[layer] = z_TE.mean()
        spread[layer] = (z_TE - mean[layer]).square().sum()
    return mean, spread


def _sigma(parts: Sequence[_Stored]) -> Tensor:
    """Standard deviation over experts and tokens before the reply, float32 [L], from the shards' moments in order.

    It equals TraceSet.sigma of all traces, without loading them at once.
    """
    weight = torch.tensor([float(part.tokens) for part in parts], dtype=torch.float64)[:, None]
    means = torch.stack([part.mean for part in parts])
    mean = (weight * means).sum(dim=0) / weight.sum()
    between = (weight * (means - mean).square()).sum(dim=0) * parts[0].spec.n_experts
    spread = torch.stack([part.spread for part in parts]).sum(dim=0) + between
    return (spread / (weight.sum() * parts[0].spec.n_experts)).sqrt().float()
