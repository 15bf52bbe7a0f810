"""The prepare stage: read the conversations, quarantine what cannot be used, split by group, match the classes."""

from collections import Counter
from collections.abc import Iterable

from mascing.conversations.json_lines import decode_lines, from_table, parse_conversations, quarantine_table, to_table
from mascing.conversations.matching import matched_pairs
from mascing.conversations.splits import SPLITS, Split, split_of
from mascing.errors import DataError
from mascing.schemas.config import MatchingConfig, RunConfig
from mascing.schemas.conversation import Conversation
from mascing.schemas.manifest import Manifest
from mascing.schemas.tables import CONVERSATIONS
from mascing.storage import parquet as tables
from mascing.storage.manifests import QUARANTINE, StageOutput, read_shard
from mascing.storage.object_storage import Storage
from mascing.storage.source import Source, read_source
from mascing.tasks.running.stage import Body, StageRun, run_stage

# The test split is judged and never learned from, so nothing is matched there.
_MATCHED: tuple[Split, ...] = ("train", "dev")


def prepare(storage: Storage, config: RunConfig) -> StageRun:
    """``conversations-{train,dev,test}.parquet`` and ``quarantine.parquet``.

    Facts: how many conversations each split has, how many of each set, and how many pairs the two classes of train
    and dev were matched to. What has no match is no part of the contrast; it stays in its split.

    Raises:
        DataError: if the file cannot be read, a split has no target conversation, or a side of the contrast is
            missing, or without any match, where the methods learn (train) or are compared (dev).
    """
    source = read_source(config.behaviour.conversations)
    return run_stage(
        storage,
        "prepare",
        config.behaviour.name,
        identity={
            "conversations": source.sha256,
            "columns": CONVERSATIONS.names,
            "max_characters": config.behaviour.max_characters,
            "splits": config.splits,
            "matching": config.behaviour.matching,
        },
        inputs={},
        body=lambda output: _split(output, config, source),
    )


def conversations_of(storage: Storage, prepared: Manifest, split: Split) -> list[Conversation]:
    """The conversations of one split, in the order of the source."""
    return from_table(tables.from_bytes(read_shard(storage, prepared, _shard_name(split))))


def contrast_of(conversations: Iterable[Conversation]) -> list[Conversation]:
    """The labelled and matched target conversations: the two sides that the methods learn from."""
    return [one for one in conversations if one.set == "target" and one.label is not None and one.contrast]


def _split(output: StageOutput, config: RunConfig, source: Source) -> Body:
    conversations, quarantined = parse_conversations(decode_lines(source.data), config.behaviour.max_characters)
    splits: dict[Split, list[Conversation]] = {split: [] for split in SPLITS}
    for conversation in conversations:
        splits[split_of(conversation.group_id, config.splits)].append(conversation)
    for split, rows in splits.items():
        _check_split(split, rows, config.behaviour.conversations)
    matching: dict[str, dict[str, int]] = {}
    if config.behaviour.matching:
        for split in _MATCHED:
            splits[split], matching[split] = _matched(split, splits[split], config.behaviour.matching)
    shards = [
        output.put(_shard_name(split), tables.to_bytes(to_table(rows)), len(rows)) for split, rows in splits.items()
    ]
    shards.append(output.put(QUARANTINE, tables.to_bytes(quarantine_table(quarantined)), len(quarantined)))
    sets = {split: dict(sorted(Counter(one.set for one in rows).items())) for split, rows in splits.items()}
    return Body(
        shards,
        rows_in=len(conversations) + len(quarantined),
        rows_quarantined=len(quarantined),
        facts={**{split: len(rows) for split, rows in splits.items()}, "sets": sets, "matching": matching},
    )


def _matched(
    split: Split, rows: list[Conversation], config: MatchingConfig
) -> tuple[list[Conversation], dict[str, int]]:
    """The rows, those without a match out of the contrast, and how many of each class found one."""
    contrast = contrast_of(rows)
    try:
        pairs = matched_pairs(contrast, config)
    except DataError as error:
        raise DataError(f"the {split} split: {error}") from error
    alone = {one.id for one in contrast} - {name for pair in pairs for name in pair}
    positive = sum(one.label == "positive" for one in contrast)
    counts = {"positive": positive, "negative": len(contrast) - positive, "pairs": len(pairs)}
    return [one.model_copy(update={"contrast": False}) if one.id in alone else one for one in rows], counts


def _check_split(split: Split, rows: list[Conversation], path: str) -> None:
    if not any(one.set == "target" for one in rows):
        raise DataError(
            f"the {split} split of {path} has no conversation of set `target`: add conversations of more groups, or "
            f"give `splits.{split}` a larger share"
        )
    labels = {one.label for one in contrast_of(rows)}
    missing = [label for label in ("positive", "negative") if label not in labels]
    if split != "test" and missing:
        raise DataError(
            f"the {split} split of {path} has no target conversation labelled {' or '.join(missing)}: the methods "
            "learn from both sides; label more conversations, of more groups"
        )


def _shard_name(split: Split) -> str:
    return f"conversations-{split}.parquet"
