"""The collect stage records the routing of unlabelled conversations on the pool, one shard for each part of them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import PurePosixPath

from rich import filesize

from mascing.conversations.intake.rows import Quarantined
from mascing.conversations.parquet_tables import quarantine_table
from mascing.errors import DataError
from mascing.models.checkpoints import checkpoint_fingerprint
from mascing.progress import Event, tell
from mascing.prose import counted
from mascing.report.wording import duration
from mascing.runs.table_parts import StoredTable
from mascing.schemas.collection import CollectionConfig
from mascing.schemas.conversation import Conversation
from mascing.schemas.facts import CollectionFacts, RouterFacts
from mascing.schemas.finished import Collected, TakenIn
from mascing.schemas.manifest import Shard
from mascing.storage import parquet
from mascing.storage.fingerprint import fingerprint
from mascing.storage.manifests import QUARANTINE, StageOutput, shard_at
from mascing.storage.object_storage import Storage
from mascing.storage.sealing import check
from mascing.tasks.collecting.take_in import PART
from mascing.tasks.running.bisection import SetAside
from mascing.tasks.running.identity import engine_part, rendered_model_identity
from mascing.tasks.running.isolation import Failed, quarantined, refuse_many, tell_set_aside
from mascing.tasks.running.recording import recorded
from mascing.tasks.running.second_try import recorded_before, refuse_failures
from mascing.tasks.running.stage import Body, Finished, Placed, Recipe, run_stage, steps
from mascing.tasks.running.units import Kind, around, run_units
from mascing.tasks.streaming.rows import Rows
from mascing.tasks.workers.pool import Pool
from mascing.tasks.workers.tally import current
from mascing.tasks.workers.worker import Worker
from mascing.traces.shard_files import ShardFile
from mascing.traces.shard_statistics import TraceStatistics
from mascing.traces.shards import encode
from mascing.traces.trace_set import SampleTrace

# Entry in the footer of a shard: the conversations that are missing from it, as QUARANTINE rows.
_FAILED = "failed"


def collect(storage: Storage, config: CollectionConfig, taken: TakenIn, *, pool: Pool) -> Finished[Collected]:
    """Record ``traces-000000.parquet`` ..., pieces that other collections share, and ``quarantine.parquet``.

    Raises DataError if too many conversations cannot be recorded, or if the traces would outgrow ``max_bytes``.
    """
    checkpoint = checkpoint_fingerprint(config.model)
    shared = _Shared(config, storage, StoredTable(storage, taken, PART), checkpoint)
    finished = run_stage(storage, recipe(config, checkpoint, taken), lambda output: _collect(output, shared, pool))
    refuse_many(storage, finished.manifest, config.max_quarantined)
    tell_set_aside(storage, finished.manifest)
    return finished


def recipe(config: CollectionConfig, checkpoint: str, taken: Placed) -> Recipe[Collected]:
    """The recipe that identifies the traces; ``checkpoint`` is the fingerprint of weights and tokenizer."""
    identity = {**rendered_model_identity(config.model, checkpoint), "chosen": config.chosen, **engine_part(config)}
    return Recipe(Collected, config.name, identity, {"intake": taken})


@dataclass(frozen=True)
class _Shared:
    config: CollectionConfig
    storage: Storage
    taken: StoredTable
    checkpoint: str


@dataclass(frozen=True)
class _Recorded:
    """A stored shard, what its footer says, and the conversations that are missing from it."""

    shard: Shard
    statistics: TraceStatistics
    spec: RouterFacts
    failed: Sequence[Quarantined]


def _collect(output: StageOutput[Collected], shared: _Shared, pool: Pool) -> Body:
    parts = _parts(shared)
    budget = _Budget(shared.config, parts, _stored_bytes(shared.storage, parts))
    stored: dict[str, tuple[Shard, Sequence[Quarantined]]] = {}
    total: TraceStatistics | None = None
    spec: RouterFacts | None = None
    for part, made in run_units(pool, shared.storage, Kind(_record, _read), shared, parts, steps("collect")):
        stored[part.path] = (made.shard, made.failed)
        total, spec = made.statistics if total is None else total + made.statistics, made.spec
        budget.spend(part, made.shard)
    assert total is not None
    assert spec is not None
    shards = [
        stored[part.path][0].model_copy(update={"name": f"traces-{number:06d}.parquet"})
        for number, part in enumerate(parts)
    ]
    failed = [row for part in parts for row in stored[part.path][1]]
    holding = [path for path, (_, rows) in stored.items() if rows]
    refuse_failures(output, failed, sum(map(len, parts)), shared.config.max_quarantined, holding)
    shards.append(output.put(QUARANTINE, parquet.to_bytes(quarantine_table(failed)), len(failed)))
    facts = CollectionFacts(
        checkpoint=shared.checkpoint,
        spec=spec,
        samples=int(total.samples_C.sum()),
        tokens=total.tokens,
        sigma=tuple(total.sigma().tolist()) if total.spread is not None and total.spread.values else (),
    )
    return Body(shards, facts, rows_in=sum(map(len, parts)), rows_quarantined=len(failed))


def _parts(shared: _Shared) -> list[Rows]:
    """The parts of the conversations; their traces are named by the content of the part and all else they hold."""
    config = shared.config
    identity = {
        "version": Collected.recipe_version(),
        **rendered_model_identity(config.model, shared.checkpoint),
        "chosen": config.chosen,
        **engine_part(config),
    }
    folder = f"traces/{fingerprint(identity)}"
    return [Rows(f"{folder}/{part.sha256[:32]}.parquet", rows) for part, rows in shared.taken.ranges()]


def _stored_bytes(storage: Storage, parts: Sequence[Rows]) -> dict[str, int]:
    """The bytes of each part's traces that are stored, by path."""
    wanted = {part.path for part in parts}
    folder = str(PurePosixPath(parts[0].path).parent)  # of all of them
    return {entry.name: entry.bytes for entry in storage.entries(folder) if entry.name in wanted}


class _Budget:
    """Tells once the first shards are there how many bytes there will be, and when; stops what outgrows its bytes.

    Shards of an earlier start count from the beginning.
    """

    _TOLD_AT = (0.01, 0.1, 0.5)

    def __init__(self, config: CollectionConfig, parts: Sequence[Rows], there: Mapping[str, int]) -> None:
        """Count ``there``, the bytes by path of what is stored. Raises DataError if these are more than the budget."""
        self._most, self._workers, self._there = config.max_bytes, config.compute.workers, there
        self._rows = sum(map(len, parts))
        self._bytes = sum(there.values())
        self._done = sum(len(part) for part in parts if part.path in there)
        self._recorded, self._missing = 0, self._rows - self._done
        self._told = list(self._TOLD_AT)
        self._refuse_spent()
        if there and self._missing:
            self._foretell()

    def spend(self, part: Rows, shard: Shard) -> None:
        """Count a shard. Raises DataError if the budget is spent."""
        if part.path in self._there:
            return
        self._bytes += shard.bytes
        self._done += len(part)
        self._recorded += len(part)
        self._refuse_spent()
        if self._told and self._recorded >= self._told[0] * self._missing:
            self._told = [share for share in self._told if self._recorded < share * self._missing]
            self._foretell()

    def _refuse_spent(self) -> None:
        if self._most is not None and self._bytes > self._most:
            raise DataError(
                f"collect: {self._bytes:,} bytes of traces are stored of {self._done:,} of {self._rows:,} "
                f"conversations, more than the budget of {self._most:,}: raise it, or keep fewer layers, spans or "
                "columns; what is stored is kept"
            )

    def _foretell(self) -> None:
        expected = self._bytes * self._rows / self._done
        size, left = filesize.decimal(round(expected)), self._time_left(expected)
        text = f"about {size} of traces in all{left}, as the first ones go{self._outgrown(expected)}"
        tell(Event("collect", "note", text=text))

    def _outgrown(self, expected: float) -> str:
        """What will happen, where more bytes are foretold than may be stored."""
        if self._most is None or expected <= self._most:
            return ""
        return f"; that is more than the budget of {filesize.decimal(self._most)}, at which the collection will stop"

    def _time_left(self, expected: float) -> str:
        """By the pace of what was recorded now; nothing is known of it while shards are only found in the store."""
        tally = current()
        recorded, left = tally.counts["bytes"], expected - self._bytes
        if not recorded or not left:
            return ""
        seconds = left * tally.making / recorded / self._workers
        return f", the rest in about {duration(seconds)} with {counted(self._workers, 'worker')}"


def _record(worker: Worker, shared: _Shared, part: Rows, set_aside: SetAside) -> bytes:
    """The traces of the part's conversations as one shard; its footer says which failed."""
    config, engine = shared.config, worker.engine(shared.config.model, shared.config.engine)
    conversations = _conversations(shared, part)
    replies = "reply" in config.chosen.spans
    before = recorded_before(shared.storage, part.path)
    record = partial(recorded, worker, engine, config.harvest, replies=replies, chosen=config.chosen, before=before)
    results = around(set_aside, conversations, record)
    # Numbered within the part, which other collections may have elsewhere.
    both = enumerate(zip(conversations, results, strict=True), start=1)
    failed = [asdict(quarantined(row, said, why)) for row, (said, why) in both if isinstance(why, Failed)]
    samples = [result for result in results if isinstance(result, SampleTrace)]
    notes = {_FAILED: json.dumps(failed)}
    data = encode(samples, engine.spec, shared.checkpoint, config.chosen, notes)
    worker.count("bytes", len(data))
    worker.count("quarantined", len(failed))
    return data


def _conversations(shared: _Shared, part: Rows) -> list[Conversation]:
    """The rows of a part, without any label: nothing says that this model shows it."""
    return [row.model_copy(update={"label": None}) for row in part.read(shared.taken)]


def _read(worker: Worker, shared: _Shared, part: Rows, data: bytes, set_aside: SetAside) -> _Recorded:
    """What the driver keeps of a stored shard, whoever made it."""
    del worker, shared, set_aside
    check(data, part.path)
    file = ShardFile(data, part.path)
    failed = [Quarantined(**row) for row in json.loads(file.metadata[_FAILED])]
    layout: Mapping[str, object] = file.layout.model_dump(include=set(RouterFacts.model_fields))
    shard = shard_at(part.path, data, len(part) - len(failed))
    return _Recorded(shard, file.statistics, RouterFacts.model_validate(layout), failed)
