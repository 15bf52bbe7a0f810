"""The harvest stage records router logits of the labelled contrast on the pool, one shard per piece of rows."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from mascing.conversations.intake.reasons import summary
from mascing.conversations.intake.rows import Quarantined
from mascing.conversations.parquet_tables import quarantine_table
from mascing.errors import DataError
from mascing.evidence.sufficiency import lacking
from mascing.runs.files import traces_prefix
from mascing.runs.readers import conversations_table, in_contrast
from mascing.runs.stored_conversations import StoredConversations
from mascing.runs.table_parts import StoredTable
from mascing.schemas.config import RunConfig
from mascing.schemas.conversation import Conversation, Split
from mascing.schemas.facts import HarvestFacts, RouterFacts
from mascing.schemas.finished import Harvested, Labelled
from mascing.schemas.manifest import Shard
from mascing.schemas.trace_layout import EVERYTHING, TraceLayout
from mascing.storage import parquet
from mascing.storage.fingerprint import Streamed, fingerprint
from mascing.storage.manifests import QUARANTINE, StageOutput, shard_at
from mascing.storage.object_storage import Storage
from mascing.storage.sealing import check
from mascing.tasks.running.bisection import SetAside
from mascing.tasks.running.identity import engine_part, rendered_model_identity
from mascing.tasks.running.isolation import Failed, quarantined, refuse_many, tell_set_aside
from mascing.tasks.running.pieces import pieces_of
from mascing.tasks.running.recording import recorded
from mascing.tasks.running.second_try import recorded_before, refuse_failures, step_aside
from mascing.tasks.running.stage import Body, Finished, Part, Placed, Recipe, run_stage, steps
from mascing.tasks.running.units import Kind, around, run_units
from mascing.tasks.streaming.rows import Rows, in_order
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

    A conversation that cannot be recorded goes to ``quarantine.parquet``. Raises DataError if these are too many, or if
    the labels leave none to record.
    """
    _refuse_nothing_to_learn_from(config, labelled)
    checkpoint = labelled.facts.checkpoint
    tables = {split: conversations_table(storage, labelled, split) for split in _SPLITS}
    seen = (_seen(config, row) for table in tables.values() for _, row in _contrast(table))
    read = Part(labelled, fingerprint(Streamed(seen)))
    shared = _Shared(storage, config, checkpoint, tables)
    finished = run_stage(storage, recipe(config, checkpoint, read), lambda output: _harvest(output, shared, pool))
    refuse_many(storage, finished.manifest, config.max_quarantined)
    tell_set_aside(storage, finished.manifest)
    return finished


def recipe(config: RunConfig, checkpoint: str, labelled: Placed) -> Recipe[Harvested]:
    """The recipe that identifies the traces; ``checkpoint`` is the fingerprint of weights and tokenizer."""
    identity = {
        **rendered_model_identity(config.model, checkpoint),
        **engine_part(config),
        "rows_per_shard": config.harvest.rows_per_shard,
        "replies": _replies(config),
    }
    return Recipe(Harvested, config.behaviour.name, identity, {"label": labelled})


def _refuse_nothing_to_learn_from(config: RunConfig, labelled: Labelled) -> None:
    """A run of the whole line ends after its labels; an audit, and whoever calls the stages, comes here."""
    contrast = labelled.facts.contrast["train"]
    if not contrast.positive + contrast.negative:
        raise DataError(f"harvest: there is nothing to learn from: {'; '.join(lacking(labelled.facts, config))}")


@dataclass(frozen=True)
class _Shared:
    """``checkpoint`` is the fingerprint of weights and tokenizer, ``tables`` the labelled conversations."""

    storage: Storage
    config: RunConfig
    checkpoint: str
    tables: Mapping[Split, StoredTable]


@dataclass(frozen=True, eq=False)
class _Piece(Rows):
    """Rows of one split whose traces are stored."""

    split: Split


@dataclass(frozen=True)
class _Recorded:
    """A stored piece, why conversations are missing from it, by position, and what its footer says."""

    shard: Shard
    failed: Mapping[int, Failed]
    layout: TraceLayout
    statistics: TraceStatistics


def _harvest(output: StageOutput[Harvested], shared: _Shared, pool: Pool) -> Body:
    pieces = [*_pieces(shared)]
    made = run_units(pool, output.storage, Kind(_record, _read), shared, pieces, steps("harvest"))
    shards: dict[Split, list[Shard]] = {split: [] for split in _SPLITS}
    quarantine: list[Quarantined] = []
    holding: list[str] = []
    total: TraceStatistics | None = None
    layout: TraceLayout | None = None
    rows_in = 0
    for piece, part in in_order(pieces, made):
        quarantine += _set_aside(shared, piece, part, rows_in)
        rows_in += len(piece)
        if part.failed:
            holding.append(piece.path)
        if part.shard.rows:
            name = f"{traces_prefix(piece.split)}{len(shards[piece.split]):05d}.parquet"
            shards[piece.split].append(part.shard.model_copy(update={"name": name}))
            if piece.split == "train":
                total = part.statistics if total is None else total + part.statistics
                layout = part.layout
    refuse_failures(output, quarantine, rows_in, shared.config.max_quarantined, holding)
    left = output.put(QUARANTINE, parquet.to_bytes(quarantine_table(quarantine)), len(quarantine))
    if total is None or layout is None:
        step_aside(output, holding)
        raise DataError(f"harvest: no conversation of the train split can be recorded: {summary(quarantine, 'row')}")
    facts = _facts(total, layout, shared.checkpoint, tuple(sorted(str(row.id) for row in quarantine)))
    named = [shard for of_split in shards.values() for shard in of_split]
    return Body([*named, left], facts, rows_in=rows_in, rows_quarantined=len(quarantine))


def _set_aside(shared: _Shared, piece: _Piece, part: _Recorded, before: int) -> list[Quarantined]:
    """The rows of a piece that could not be recorded, numbered after the ``before`` rows of the pieces before it."""
    if not part.failed:
        return []
    lost = zip(part.failed, piece.at(part.failed).read(shared.tables[piece.split]), strict=True)
    return [quarantined(before + place + 1, row, part.failed[place]) for place, row in lost]


def _facts(total: TraceStatistics, layout: TraceLayout, checkpoint: str, failed: tuple[str, ...]) -> HarvestFacts:
    negative, positive, _ = total.samples_C.tolist()
    return HarvestFacts(
        checkpoint=checkpoint,
        spec=RouterFacts.model_validate(layout.model_dump(include=set(RouterFacts.model_fields))),
        sigma=tuple(total.sigma().tolist()),
        tokens=total.tokens_before_the_reply,
        positive=positive,
        negative=negative,
        quarantined=failed,
    )


def _replies(config: RunConfig) -> bool:
    return "reply" in config.methods.spans


def _pieces(shared: _Shared) -> Iterator[_Piece]:
    """The contrast in pieces; each is named by what its recording reads."""
    config = shared.config
    recipe_of_all = {
        "version": Harvested.recipe_version(),
        **rendered_model_identity(config.model, shared.checkpoint),
        **engine_part(config),
    }
    folder = f"traces/{fingerprint(recipe_of_all)}"
    for split, table in shared.tables.items():
        for rows in pieces_of(_contrast(table), config.harvest.rows_per_shard, lambda row: row[1].id):
            path = f"{folder}/{fingerprint([_seen(config, row) for _, row in rows])}.parquet"
            yield _Piece(path, np.array([position for position, _ in rows]), split)


def _contrast(table: StoredTable) -> Iterator[tuple[int, Conversation]]:
    """The conversations that methods learn from, with their positions in the table."""
    return ((position, row) for position, row in enumerate(StoredConversations(table)) if in_contrast(row))


def _record(worker: Worker, shared: _Shared, piece: _Piece, set_aside: SetAside) -> bytes:
    """The traces of the piece's conversations as one shard; its footer says which failed."""
    config = shared.config
    engine = worker.engine(config.model, config.engine)
    before = recorded_before(shared.storage, piece.path)
    record = partial(
        recorded, worker, engine, config.harvest, replies=_replies(config), chosen=EVERYTHING, before=before
    )
    results = around(set_aside, piece.read(shared.tables[piece.split]), record)
    failed = {place: asdict(result) for place, result in enumerate(results) if isinstance(result, Failed)}
    samples = [result for result in results if isinstance(result, SampleTrace)]
    data = encode(samples, engine.spec, shared.checkpoint, notes={_FAILED: json.dumps(failed)})
    worker.count("bytes", len(data))
    worker.count("quarantined", len(failed))
    return data


def _seen(config: RunConfig, row: Conversation) -> list[Any]:
    """What recording reads of a conversation."""
    turns = [[turn.role, turn.content] for turn in row.messages]
    return [row.id, row.group_id, row.label, turns, row.own_reply if _replies(config) else None]


def _read(worker: Worker, shared: _Shared, piece: _Piece, data: bytes, set_aside: SetAside) -> _Recorded:
    """What the stage's facts need of a stored piece, whoever made it."""
    del worker, shared, set_aside
    check(data, piece.path)
    file = ShardFile(data, piece.path)
    failed = {int(place): Failed(**why) for place, why in json.loads(file.metadata[_FAILED]).items()}
    shard = shard_at(piece.path, data, len(piece) - len(failed))
    return _Recorded(shard, failed, file.layout, file.statistics)
