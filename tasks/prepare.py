"""The prepare stage reads the conversations, sets aside those that the model and the judges cannot use, and splits."""

from collections import Counter

from mascing.conversations.intake.reader import Reading, open_conversations, read_all
from mascing.conversations.intake.rows import Quarantined
from mascing.conversations.json_lines import quarantine_table, to_table
from mascing.conversations.splits import SPLITS, split_of
from mascing.errors import DataError
from mascing.judges.given_replies import given_replies, refuse_misread
from mascing.models.checkpoints import rendering_fingerprint
from mascing.progress import Event, tell
from mascing.runs.files import conversations_file
from mascing.schemas.config import RunConfig
from mascing.schemas.conversation import Conversation, Split
from mascing.schemas.facts import PrepareFacts
from mascing.schemas.finished import Prepared
from mascing.schemas.manifest import Shard
from mascing.schemas.result import SplitSizes
from mascing.schemas.tables import CONVERSATIONS
from mascing.storage import parquet
from mascing.storage.manifests import QUARANTINE, StageOutput
from mascing.storage.object_storage import Storage
from mascing.storage.source import Source, read_rows
from mascing.tasks.running.identity import judged_replies_identity
from mascing.tasks.running.isolation import refuse_many, tell_set_aside
from mascing.tasks.running.stage import Body, Finished, Recipe, run_stage
from mascing.tasks.running.usable import usable

Splits = dict[Split, list[Conversation]]


def prepare(storage: Storage, config: RunConfig) -> Finished[Prepared]:
    """Write ``conversations-{train,dev,test}.parquet`` and ``quarantine.parquet``.

    Raises:
        DataError: if the file cannot be read, if too many of its rows cannot be used, if a judge does not read the
            replies that the file gives as what they are said to be, or if a split has no target conversation.
    """
    source = read_rows(config.behaviour.conversations)
    rendering = rendering_fingerprint(config.model)
    reading = open_conversations(source.files, config.behaviour.columns, config.behaviour.max_characters)
    finished = run_stage(storage, recipe(config, rendering, source), lambda output: _prepare(output, config, reading))
    for text in (f"read {reading.format}, layout {reading.layout.name}", *reading.notes):
        tell(Event("prepare", "note", text=text))
    refuse_many(storage, finished.manifest, config.max_quarantined)
    tell_set_aside(storage, finished.manifest)
    refuse_misread(finished.manifest.facts.given, config.max_quarantined)
    return finished


def recipe(config: RunConfig, rendering: str, source: Source) -> Recipe[Prepared]:
    """The recipe that identifies the prepared conversations.

    ``rendering`` is the fingerprint of the files of the model that render conversations.
    """
    identity = {
        "rendering": rendering,
        "chat_template": config.model.chat_template,
        "trust_remote_code": config.model.trust_remote_code,  # its own code may make another tokenizer
        **judged_replies_identity(config),
        "conversations": source.sha256,
        "read_as": config.behaviour.columns,
        "columns": CONVERSATIONS.names,
        "max_characters": config.behaviour.max_characters,
        "splits": config.splits,
    }
    return Recipe(Prepared, config.behaviour.name, identity)


def _prepare(output: StageOutput[Prepared], config: RunConfig, reading: Reading) -> Body:
    read = read_all(reading)
    conversations, unusable = usable(read.conversations, read.row_of, config)
    quarantined = [*read.quarantined, *unusable]
    given = given_replies(config.behaviour, conversations)
    splits = _split(conversations, config)
    shards = [
        output.put(conversations_file(split), parquet.to_bytes(to_table(rows)), len(rows))
        for split, rows in splits.items()
    ]
    shards.append(_put_quarantine(output, quarantined))
    facts = PrepareFacts(
        splits=SplitSizes(**{split: len(rows) for split, rows in splits.items()}),
        sets={split: _set_sizes(rows) for split, rows in splits.items()},
        given=given,
    )
    return Body(shards, facts, rows_in=len(conversations) + len(quarantined), rows_quarantined=len(quarantined))


def _put_quarantine(output: StageOutput[Prepared], quarantined: list[Quarantined]) -> Shard:
    return output.put(QUARANTINE, parquet.to_bytes(quarantine_table(quarantined)), len(quarantined))


def _set_sizes(rows: list[Conversation]) -> dict[str, int]:
    return dict(sorted(Counter(row.set for row in rows).items()))


def _split(conversations: list[Conversation], config: RunConfig) -> Splits:
    splits: Splits = {split: [] for split in SPLITS}
    for conversation in conversations:
        splits[split_of(conversation.group_id, config.splits)].append(conversation)
    for split, rows in splits.items():
        _check_split(split, rows, config.behaviour.conversations)
    return splits


def _check_split(split: Split, rows: list[Conversation], path: str) -> None:
    if not any(row.set == "target" for row in rows):
        raise DataError(
            f"the {split} split of {path} has no conversation of set `target`: add conversations of more groups, or "
            f"give `splits.{split}` a larger share"
        )
