"""The harvest stage records router logits of the labelled contrast on the pool, one shard per piece of rows."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from mascing.conversations.intake.reasons import summary
from mascing.conversations.parquet_tables import quarantine_table
from mascing.errors import DataError
from mascing.routers.spec import inspect_routers
from mascing.runs.files import traces_prefix
from mascing.runs.readers import contrast_of, conversations_of
from mascing.schemas.config import RunConfig
from mascing.schemas.conversation import Conversation, Split
from mascing.schemas.facts import HarvestFacts, RouterFacts
from mascing.schemas.finished import Harvested, Labelled
from mascing.schemas.manifest import Shard
from mascing.schemas.trace_layout import EVERYTHING, TraceLayout
from mascing.storage import parquet
from mascing.storage.fingerprint import fingerprint
from mascing.storage.manifests import QUARANTINE, StageOutput, shard_at
from mascing.storage.object_storage import Storage
from mascing.storage.sealing import check
from mascing.tasks.running.identity import rendered_model_identity
from mascing.tasks.running.isolation import Failed, quarantined, refuse_many, tell_set_aside
from mascing.tasks.running.pieces import by_id, pieces_of
from mascing.tasks.running.recording import recorded
from mascing.tasks.running.second_try import recorded_before, refuse_failures, step_aside
from mascing.tasks.running.stage import Body, Finished, Part, Placed, Recipe, run_stage, steps
from mascing.tasks.running.units import Kind, SetAside, around, run_units
from mascing.tasks.workers.pool import Pool
from mascing.tasks.workers.worker import Worker
from mascing.traces.shard_files import ShardFile
from mascing.traces.shard_statistics import TraceStatistics
from mascing.traces.shards import encode
from mascing.traces.trace_set import SampleTrace

# Surrogates and masks are made from the training traces; the dev traces measure how good a surrogate is.
_SPLITS: tuple[Split, ...] = ("train", "dev")

# Entry in the footer of a piece: which conversations are missing from it, and why.
_FAILED = "failed"


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
        **rendered_model_identity(config.model, checkpoint),
        "rows_per_shard": config.harvest.rows_per_shard,
        "replies": _replies(config),
    }
    return Recipe(Harvested, config.behaviour.name, identity, {"label": labelled})


@dataclass(frozen=True)
class _Shared:
    """``checkpoint`` is the fingerprint of weights and tokenizer."""

    storage: Storage
    config: RunConfig
    checkpoint: str


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
    """A stored piece, why conversations are missing from it, by position, and what its footer says."""

    shard: Shard
    failed: Mapping[int, Failed]
    layout: TraceLayout
    statistics: TraceStatistics


def _harvest(
    output: StageOutput[Harvested], config: RunConfig, checkpoint: str, pieces: Sequence[_Piece], pool: Pool
) -> Body:
    shared = _Shared(output.storage, config, checkpoint)
    made = run_units(pool, output.storage, Kind(_record, _read), shared, pieces, steps("harvest"))
    stored = {piece.path: part for piece, part in made}
    parts = [(piece, stored[piece.path]) for piece in pieces]
    failed = {piece.conversations[place].id: why for piece, part in parts for place, why in part.failed.items()}
    rows = [conversation for piece in pieces for conversation in piece.conversations]
    quarantine = [
        quarantined(number, conversation, failed[conversation.id])
        for number, conversation in enumerate(rows, start=1)
        if conversation.id in failed
    ]
    holding = [piece.path for piece, part in parts if part.failed]
    refuse_failures(output, quarantine, len(rows), config.max_quarantined, holding)
    shards = _named(parts)
    shards.append(output.put(QUARANTINE, parquet.to_bytes(quarantine_table(quarantine)), len(quarantine)))
    train = [part for piece, part in parts if piece.split == "train" and part.shard.rows]
    if not train:
        step_aside(output, holding)
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
    statistics = sum((part.statistics for part in train[1:]), start=train[0].statistics)
    negative, positive, _ = statistics.samples_C.tolist()
    return HarvestFacts(
        checkpoint=checkpoint,
        spec=RouterFacts.model_validate(train[0].layout.model_dump(include=set(RouterFacts.model_fields))),
        sigma=tuple(statistics.sigma().tolist()),
        tokens=statistics.tokens_before_the_reply,
        positive=positive,
        negative=negative,
        quarantined=failed,
    )


def _replies(config: RunConfig) -> bool:
    return "reply" in config.methods.spans


def _pieces(config: RunConfig, checkpoint: str, contrast: Mapping[Split, Sequence[Conversation]]) -> list[_Piece]:
    """The contrast in pieces; each is named by what its recording reads."""
    recipe_of_all = {"version": Harvested.recipe_version(), **rendered_model_identity(config.model, checkpoint)}
    folder = f"traces/{fingerprint(recipe_of_all)}"
    return [
        _Piece(split, f"{folder}/{fingerprint([_seen(config, row) for row in rows])}.parquet", tuple(rows))
        for split, conversations in contrast.items()
        for rows in pieces_of(conversations, config.harvest.rows_per_shard, by_id)
    ]


def _record(worker: Worker, shared: _Shared, piece: _Piece, set_aside: SetAside) -> bytes:
    """The traces of the piece's conversations as one shard; its footer says which failed."""
    config, loaded = shared.config, worker.model(shared.config.model)
    spec = inspect_routers(loaded.model)
    before = recorded_before(shared.storage, piece.path)
    record = partial(
        recorded, worker, loaded, config.harvest, replies=_replies(config), chosen=EVERYTHING, before=before
    )
    results = around(set_aside, piece.conversations, record)
    failed = {place: asdict(result) for place, result in enumerate(results) if isinstance(result, Failed)}
    samples = [result for result in results if isinstance(result, SampleTrace)]
    data = encode(samples, spec, shared.checkpoint, notes={_FAILED: json.dumps(failed)})
    worker.count("bytes", len(data))
    worker.count("quarantined", len(failed))
    return data


def _seen(config: RunConfig, row: Conversation) -> list[Any]:
    """What recording reads of a conversation."""
    turns = [[turn.role, turn.content] for turn in row.messages]
    return [row.id, row.group_id, row.label, turns, row.own_reply if _replies(config) else None]


def _read(worker: Worker, shared: _Shared, piece: _Piece, data: bytes) -> _Recorded:
    """What the stage's facts need of a stored piece, whoever made it."""
    del worker, shared
    check(data, piece.path)
    file = ShardFile(data, piece.path)
    failed = {int(place): Failed(**why) for place, why in json.loads(file.metadata[_FAILED]).items()}
    shard = shard_at(piece.path, data, len(piece) - len(failed))
    return _Recorded(shard, failed, file.layout, file.statistics)
