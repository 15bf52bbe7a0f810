"""The prepare stage reads the conversations, sets aside those that the model and the judges cannot use, and splits."""

from collections import Counter
from collections.abc import Sequence
from itertools import islice

from mascing.catalogue.inputs import Input, content_of, inputs_of, read_as
from mascing.conversations.intake.reader import Reading
from mascing.conversations.intake.rows import Quarantined, Used
from mascing.conversations.parquet_tables import quarantine_table, to_table
from mascing.conversations.seen_ids import SeenIds
from mascing.conversations.splits import SPLITS, split_of
from mascing.errors import DataError
from mascing.judges.given_replies import given_replies, merged, refuse_misread
from mascing.models.checkpoints import rendering_fingerprint
from mascing.models.tokenizer import context_length, load_tokenizer
from mascing.preflight.rows import lost_sets, no_target, nothing_usable
from mascing.preflight.usable import complaints_of, refused
from mascing.progress import Event, tell
from mascing.runs.files import conversations_prefix
from mascing.runs.table_parts import PartWriter
from mascing.schemas.config import RunConfig
from mascing.schemas.conversation import Conversation, Split
from mascing.schemas.facts import GivenReplies, PrepareFacts
from mascing.schemas.finished import Prepared
from mascing.schemas.result import SplitSizes
from mascing.schemas.tables import CONVERSATIONS
from mascing.storage import parquet
from mascing.storage.manifests import QUARANTINE, StageOutput
from mascing.storage.object_storage import Storage
from mascing.tasks.running.identity import judged_replies_identity
from mascing.tasks.running.isolation import refuse_many, tell_set_aside
from mascing.tasks.running.stage import Body, Finished, Recipe, run_stage

# Rows that stand in memory as objects at the same time.
_BATCH = 1024


def prepare(storage: Storage, config: RunConfig) -> Finished[Prepared]:
    """Write ``conversations-train-000000.parquet`` ..., the same of dev and test, and ``quarantine.parquet``.

    Raises:
        DataError: if the file cannot be read, if too many of its rows cannot be used, if a judge does not read the
            replies that the file gives as what they are said to be, if a split has no target conversation, or if no row
            is left of a set that a source is named for.
    """
    parts = inputs_of(config.behaviour)
    content = content_of(parts)
    finished = run_stage(
        storage,
        recipe(config, rendering_fingerprint(config.model), content),
        lambda output: _prepare(storage, output, config, parts, content),
    )
    refuse_many(storage, finished.manifest, config.max_quarantined)
    tell_set_aside(storage, finished.manifest)
    refuse_misread(finished.manifest.facts.given, config.max_quarantined)
    return finished


def recipe(config: RunConfig, rendering: str, content: str) -> Recipe[Prepared]:
    """The recipe that identifies the prepared conversations.

    ``rendering`` is the fingerprint of the files of the model that render conversations, ``content`` the hash of the
    rows, wherever they lie.
    """
    identity = {
        "rendering": rendering,
        "chat_template": config.model.chat_template,
        "trust_remote_code": config.model.trust_remote_code,  # its own code may make another tokenizer
        **judged_replies_identity(config),
        "conversations": content,
        "read_as": read_as(config.behaviour),
        "columns": CONVERSATIONS.names,
        "max_characters": config.behaviour.max_characters,
        "splits": config.splits,
    }
    return Recipe(Prepared, config.behaviour.name, identity)


def leave_quarantine(storage: Storage, config: RunConfig, quarantined: Sequence[Quarantined]) -> str:
    """Store the rows that are set aside where the stage would, though it does not run; returns the place."""
    stage = recipe(config, rendering_fingerprint(config.model), content_of(inputs_of(config.behaviour)))
    output = StageOutput(storage, Prepared, stage.name, stage.fingerprint)
    return _left(storage, output, quarantined)


def _left(storage: Storage, output: StageOutput[Prepared], quarantined: Sequence[Quarantined]) -> str:
    # Without a manifest, no later run takes it for a result.
    output.put(QUARANTINE, parquet.to_bytes(quarantine_table(quarantined)), len(quarantined))
    return storage.locate(f"{output.prefix}/{QUARANTINE}")


def _prepare(
    storage: Storage, output: StageOutput[Prepared], config: RunConfig, parts: Sequence[Input], content: str
) -> Body:
    reading = Reading(parts, config.behaviour.max_characters)
    for text in (f"read {reading.format}, layout {reading.layouts}", *reading.notes):
        tell(Event("prepare", "note", text=text))
    sorting = _Sorting(storage, config, output)
    rows = reading.rows(SeenIds())
    while batch := list(islice(rows, _BATCH)):
        sorting.add(batch)
    if content_of(parts) != content:
        raise DataError(f"{config.behaviour.origin} has changed while it was read: run again once nothing writes to it")
    if problem := sorting.problem(reading.unit):
        left = f" ({_left(storage, output, sorting.quarantined)} has all reasons)" if sorting.quarantined else ""
        raise DataError(f"{problem}{left}")
    quarantine = quarantine_table(sorting.quarantined)
    shards = [shard for parts in sorting.parts.values() for shard in parts.close()]
    shards.append(output.put(QUARANTINE, parquet.to_bytes(quarantine), len(quarantine)))
    facts = PrepareFacts(
        splits=SplitSizes(**{split: sets.total() for split, sets in sorting.sets.items()}),
        sets={split: dict(sorted(sets.items())) for split, sets in sorting.sets.items()},
        given=merged(sorting.given),
    )
    return Body(shards, facts, rows_in=sum(shard.rows for shard in shards), rows_quarantined=len(sorting.quarantined))


class _Sorting:
    """Sorts rows into splits and quarantine, batch by batch; rows that were sorted are stored part by part.

    ``read`` counts the rows that are conversations, usable with this model or not.
    """

    def __init__(self, storage: Storage, config: RunConfig, output: StageOutput[Prepared]) -> None:
        self._storage = storage
        self.parts = {split: PartWriter(output, conversations_prefix(split)) for split in SPLITS}
        self.sets: dict[Split, Counter[str]] = {split: Counter() for split in SPLITS}
        self.quarantined: list[Quarantined] = []
        self.given: list[GivenReplies] = []
        self.read = 0
        self._config = config
        self._complaints = complaints_of(config, load_tokenizer(config.model), context_length(config.model))

    def add(self, rows: Sequence[Used | Quarantined]) -> None:
        """Sort a batch of rows."""
        kept: dict[Split, list[Conversation]] = {split: [] for split in SPLITS}
        for row in rows:
            if isinstance(row, Quarantined):
                self.quarantined.append(row)
                continue
            self.read += 1
            if (refusal := refused(row, self._complaints)) is not None:
                self.quarantined.append(refusal)
            else:
                kept[split_of(row.conversation.group_id, self._config.splits)].append(row.conversation)
        for split, conversations in kept.items():
            if conversations:
                self.parts[split].add(to_table(conversations))
                self.sets[split].update(conversation.set for conversation in conversations)
                self.given += given_replies(self._config.behaviour, conversations, self._storage)

    def problem(self, unit: str) -> str | None:
        """What keeps the rows from making a run; ``unit`` is what their numbers count."""
        if not any(self.sets.values()):
            return nothing_usable(self.quarantined, self.read, unit)
        lacking = [no_target(split, sets, self._config.behaviour.origin) for split, sets in self.sets.items()]
        return next(filter(None, [*lacking, *lost_sets(self._config.behaviour, self.sets)]), None)
