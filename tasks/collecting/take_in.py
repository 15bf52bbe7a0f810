"""The intake stage reads conversations, in whatever number, into parts that workers record one by one."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import BinaryIO

from mascing.conversations.intake.reader import nothing_left, open_conversations
from mascing.conversations.intake.rows import Quarantined
from mascing.conversations.parquet_tables import quarantine_table, to_table
from mascing.conversations.seen_ids import SeenIds
from mascing.errors import DataError
from mascing.progress import Event, tell
from mascing.schemas.collection import CollectionConfig
from mascing.schemas.conversation import Conversation
from mascing.schemas.facts import IntakeFacts
from mascing.schemas.finished import TakenIn
from mascing.schemas.manifest import Shard
from mascing.schemas.tables import CONVERSATIONS
from mascing.storage import parquet
from mascing.storage.manifests import QUARANTINE, StageOutput
from mascing.storage.object_storage import Storage
from mascing.storage.source import files_of_rows
from mascing.tasks.running.isolation import refuse_many, tell_set_aside
from mascing.tasks.running.pieces import by_id, pieces_of
from mascing.tasks.running.stage import Body, Finished, Recipe, run_stage

PART = "conversations-"
"""How the names of the parts begin."""

_BLOCK_BYTES = 2**20
_TOLD_ROWS = 10_000


def intake(storage: Storage, config: CollectionConfig) -> Finished[TakenIn]:
    """Write ``conversations-00000.parquet`` ... and ``quarantine.parquet``; one part stands in memory at a time.

    Raises DataError if the file cannot be read, or if too many of its rows cannot be used.
    """
    files = files_of_rows(config.conversations)
    finished = run_stage(storage, recipe(config, files), lambda output: _intake(output, config, files))
    refuse_many(storage, finished.manifest, config.max_quarantined)
    tell_set_aside(storage, finished.manifest)
    return finished


def recipe(config: CollectionConfig, files: Mapping[str, Callable[[], BinaryIO]]) -> Recipe[TakenIn]:
    """The recipe that identifies the parts; it reads the files for their hashes."""
    identity = {
        "conversations": [_sha256(file) for file in files.values()],
        "read_as": config.columns,
        "columns": CONVERSATIONS.names,
        "max_characters": config.max_characters,
        "rows_per_shard": config.harvest.rows_per_shard,
    }
    return Recipe(TakenIn, config.name, identity)


def _intake(
    output: StageOutput[TakenIn], config: CollectionConfig, files: Mapping[str, Callable[[], BinaryIO]]
) -> Body:
    reading = open_conversations(files, config.columns, config.max_characters)
    for text in (f"read {reading.format}, layout {reading.layout.name}", *reading.notes):
        tell(Event("intake", "note", text=text))
    quarantined: list[Quarantined] = []

    def usable() -> Iterator[Conversation]:
        for number, row in enumerate(reading.rows(SeenIds()), start=1):
            if isinstance(row, Quarantined):
                quarantined.append(row)
            else:
                yield row.conversation
            if number % _TOLD_ROWS == 0:
                tell(Event("intake", "note", text=f"{number:,} rows read"))

    shards: list[Shard] = []
    for number, rows in enumerate(pieces_of(usable(), config.harvest.rows_per_shard, by_id)):
        shards.append(output.put(f"{PART}{number:06d}.parquet", parquet.to_bytes(to_table(rows)), len(rows)))
    conversations = sum(shard.rows for shard in shards)
    if not conversations:
        raise DataError(nothing_left(quarantined, reading.unit))
    shards.append(output.put(QUARANTINE, parquet.to_bytes(quarantine_table(quarantined)), len(quarantined)))
    rows_in = conversations + len(quarantined)
    return Body(shards, IntakeFacts(conversations=conversations), rows_in=rows_in, rows_quarantined=len(quarantined))


def _sha256(file: Callable[[], BinaryIO]) -> str:
    digest = hashlib.sha256()
    with file() as stream:
        while block := stream.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
