"""The harvest stage records router logits of the labelled contrast on the pool, one shard per piece of rows.

Shapes: T token, L MoE layer, E expert.
"""

import json
from collections.abc import Mapping, Sequence
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
from mascing.tasks.running.identity import rendered_model_identity
from mascing.tasks.running.isolation import Failed, quarantined, refuse_many, surviving, tell_set_aside
from mascing.tasks.running.pieces import by_id, pieces_of
from mascing.tasks.running.stage import Body, Finished, Part, Placed, Recipe, run_stage, steps
from mascing.tasks.running.units import Kind, SetAside, run_units
from mascing.tasks.workers.pool import Pool
from mascing.tasks.workers.worker import Worker
from mascing.traces.batch_recording import harvest as record_traces
from mascing.traces.shards import decode, encode, notes_of
from mascing.traces.trace_set import REPLY, SampleTrace, refuse_non_logits

# Surrogates and masks are made from the training traces; the dev traces measure how good a surrogate is.
_SPLITS: tuple[Split, ...] = ("train", "dev")

# Notes in the footer of a piece.
_FAILED, _ROUTERS = "failed", "routers"


def harvest(storage: Storage, config: RunConfig, labelled: Labelled, *, pool: Pool) -> Finished[Harvested]:
    """Record ``traces-train-00000.parquet`` ... and ``traces-dev-00000.parquet`` ... as pieces.

    A conversation that cannot be recorded goes to ``quarantine.parquet``. Raises DataError if these are too many.
    """
    checkpoint = labelled.facts.checkpoint
    contrast = {split: contrast_of(conversations_of(storage, labelled, split)) for split in _SPLITS}
    read = Part(labelled, fingerprint([_seen(config, row) for rows in contrast.values() for row in rows]))
    pieces = _pieces(config, checkpoint, contrast)
    finished = run_stage(
        storage, recipe(config, checkpoint, read), lambda output: _harvest(output, config, checkpoint, pieces, pool)
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
class _Piece:
    """Conversations of one split whose traces are stored at ``path``."""

    split: Split
    path: str
    conversations: tuple[Conversation, ...]

    def __len__(self) -> int:
        return len(self.conversations)

    def part(self, start: int, stop: int) -> "_Piece":
        """These conversations alone."""
        return _Piece(self.split, self.path, self.conversations[start:stop])


@dataclass(frozen=True)
class _Recorded:
    """A stored piece, and why conversations are missing from it, by position.

    The statistics of its logits are for the facts: ``mean`` and ``spread`` are [L].
    """

    shard: Shard
    failed: Mapping[int, Failed]
    spec: RouterSpec
    positive: int
    tokens: int
    mean: Tensor
    spread: Tensor  # sum of squared distances to the mean


def _harvest(
    output: StageOutput[Harvested], config: RunConfig, checkpoint: str, pieces: Sequence[_Piece], pool: Pool
) -> Body:
    made = run_units(pool, output.storage, Kind(_record, _read), config, pieces, steps("harvest"))
    recorded = {piece.path: part for piece, part in made}
    parts = [(piece, recorded[piece.path]) for piece in pieces]
    failed = {piece.conversations[place].id: why for piece, part in parts for place, why in part.failed.items()}
    rows = [conversation for piece in pieces for conversation in piece.conversations]
    quarantine = [
        quarantined(number, conversation, failed[conversation.id])
        for number, conversation in enumerate(rows, start=1)
        if conversation.id in failed
    ]
    shards = _named(parts)
    shards.append(output.put(QUARANTINE, parquet.to_bytes(quarantine_table(quarantine)), len(quarantine)))
    train = [part for piece, part in parts if piece.split == "train" and part.shard.rows]
    if not train:
        raise DataError(f"harvest: no conversation of the train split can be recorded: {summary(quarantine, 'row')}")
    facts = _facts(train, checkpoint, tuple(sorted(failed)))
    return Body(shards, facts, rows_in=len(rows), rows_quarantined=len(quarantine))


def _named(parts: Sequence[tuple[_Piece, _Recorded]]) -> list[Shard]:
    """The pieces that hold traces as shards of this stage, numbered by split."""
    shards = []
    for split in _SPLITS:
        held = [part.shard for piece, part in parts if piece.split == split and part.shard.rows]
        shards += [
            shard.model_copy(update={"name": f"{traces_prefix(split)}{number:05d}.parquet"})
            for number, shard in enumerate(held)
        ]
    return shards


def _facts(train: Sequence[_Recorded], checkpoint: str, failed: tuple[str, ...]) -> HarvestFacts:
    positive = sum(part.positive for part in train)
    return HarvestFacts(
        checkpoint=checkpoint,
        spec=RouterFacts(**asdict(train[0].spec)),
        sigma=tuple(_sigma(train).tolist()),
        tokens=sum(part.tokens for part in train),
        positive=positive,
        negative=sum(part.shard.rows for part in train) - positive,
        quarantined=failed,
    )


def _replies(config: RunConfig) -> bool:
    return "reply" in config.methods.spans


def _pieces(config: RunConfig, checkpoint: str, contrast: Mapping[Split, Sequence[Conversation]]) -> list[_Piece]:
    """The contrast in pieces; each is named by what its recording reads."""
    recipe_of_all = {"version": Harvested.recipe_version(), **rendered_model_identity(config, checkpoint)}
    folder = f"traces/{fingerprint(recipe_of_all)}"
    return [
        _Piece(split, f"{folder}/{fingerprint([_seen(config, row) for row in rows])}.parquet", tuple(rows))
        for split, conversations in contrast.items()
        for rows in pieces_of(conversations, config.harvest.rows_per_shard, by_id)
    ]


def _record(worker: Worker, config: RunConfig, piece: _Piece, set_aside: SetAside) -> bytes:
    """The traces of the piece's conversations as one shard; its notes say which failed, and describe the routers."""
    loaded = worker.model(config.model)
    spec = inspect_routers(loaded.model)
    rows = [row for place, row in enumerate(piece.conversations) if place not in set_aside]
    recorded = iter(surviving(partial(_samples, worker, loaded, config), rows))
    results = [set_aside[place] if place in set_aside else next(recorded) for place in range(len(piece))]
    failed = {place: asdict(result) for place, result in enumerate(results) if isinstance(result, Failed)}
    samples = [result for result in results if isinstance(result, SampleTrace)]
    notes = {_FAILED: json.dumps(failed), _ROUTERS: RouterFacts(**asdict(spec)).model_dump_json()}
    data = encode(samples, spec, notes)
    worker.count("bytes", len(data))
    return data


def _samples(worker: Worker, loaded: Loaded, config: RunConfig, rows: Sequence[Conversation]) -> list[SampleTrace]:
    """The traces of the rows, refused if they are not raw logits."""
    samples = worker.within_memory(
        "harvest",
        config.harvest.batch_tokens,
        lambda tokens: record_traces(loaded, rows, tokens, _replies(config)),
    )
    refuse_non_logits([sample.z for sample in samples])
    worker.count("tokens", sum(len(sample.z) for sample in samples))
    return samples


def _seen(config: RunConfig, row: Conversation) -> list[Any]:
    """What recording reads of a conversation."""
    turns = [[turn.role, turn.content] for turn in row.messages]
    return [row.id, row.group_id, row.label, turns, row.own_reply if _replies(config) else None]


def _read(worker: Worker, config: RunConfig, piece: _Piece, data: bytes) -> _Recorded:
    """What the stage's facts need of a stored piece, whoever made it."""
    del worker, config
    notes = notes_of(data)
    failed = {int(place): Failed(**why) for place, why in json.loads(notes[_FAILED]).items()}
    spec = RouterSpec(**RouterFacts.model_validate_json(notes[_ROUTERS]).model_dump())
    shard = shard_at(piece.path, data, len(piece) - len(failed))
    if not shard.rows:
        nothing = torch.zeros(spec.n_layers, dtype=torch.float64)
        return _Recorded(shard, failed, spec, 0, 0, nothing, nothing)
    traces = decode([data])
    before_T = traces.regions != REPLY
    mean, spread = _moments(traces.z[before_T])
    return _Recorded(shard, failed, spec, int(traces.labels.sum()), int(before_T.sum()), mean, spread)


def _moments(z_TLE: Tensor) -> tuple[Tensor, Tensor]:
    n_layers = z_TLE.shape[1]
    mean, spread = torch.empty(n_layers, dtype=torch.float64), torch.empty(n_layers, dtype=torch.float64)
    for layer in range(n_layers):
        z_TE = z_TLE[:, layer].double()
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
