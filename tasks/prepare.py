"""The prepare stage reads the conversations, quarantines unusable rows, splits by group and matches the classes."""

from collections import Counter
from dataclasses import dataclass

from mascing.conversations.json_lines import (
    Quarantined,
    decode_lines,
    parse_conversations,
    quarantine_table,
    to_table,
)
from mascing.conversations.matching import matched_pairs
from mascing.conversations.splits import SPLITS, split_of
from mascing.errors import DataError
from mascing.runs.files import conversations_file
from mascing.runs.readers import contrast_of
from mascing.schemas.config import MatchingConfig, RunConfig
from mascing.schemas.conversation import Conversation, Split
from mascing.schemas.facts import MatchedCounts, PrepareFacts
from mascing.schemas.finished import Prepared
from mascing.schemas.manifest import Shard
from mascing.schemas.result import SplitSizes
from mascing.schemas.tables import CONVERSATIONS
from mascing.storage import parquet
from mascing.storage.manifests import QUARANTINE, StageOutput
from mascing.storage.object_storage import Storage
from mascing.storage.source import Source, read_source
from mascing.tasks.running.stage import Body, Finished, Recipe, run_stage

# The test split is only judged, never learned from, so it needs no matching.
_MATCHED: tuple[Split, ...] = ("train", "dev")

Splits = dict[Split, list[Conversation]]


def prepare(storage: Storage, config: RunConfig) -> Finished[Prepared]:
    """Write ``conversations-{train,dev,test}.parquet`` and ``quarantine.parquet``.

    A conversation without a match in the other class leaves the contrast and stays in its split.

    Raises:
        DataError: if the file cannot be read, a split has no target conversation, or a class of the contrast is empty
            or has no match in the train split (where methods learn) or the dev split (where they are compared).
    """
    source = read_source(config.behaviour.conversations)
    return run_stage(storage, recipe(config, source), lambda output: _prepare(output, config, source))


def recipe(config: RunConfig, source: Source) -> Recipe[Prepared]:
    """The recipe that identifies the prepared conversations."""
    identity = {
        "conversations": source.sha256,
        "columns": CONVERSATIONS.names,
        "max_characters": config.behaviour.max_characters,
        "splits": config.splits,
        "matching": config.behaviour.matching,
    }
    return Recipe(Prepared, config.behaviour.name, identity)


def _prepare(output: StageOutput[Prepared], config: RunConfig, source: Source) -> Body:
    conversations, quarantined = parse_conversations(decode_lines(source.data), config.behaviour.max_characters)
    splits = _split(conversations, config)
    matched = _match(splits, config.behaviour.matching) if config.behaviour.matching else _Matched(splits, {})
    shards = [
        output.put(conversations_file(split), parquet.to_bytes(to_table(rows)), len(rows))
        for split, rows in matched.splits.items()
    ]
    shards.append(_put_quarantine(output, quarantined))
    facts = PrepareFacts(
        splits=SplitSizes(**{split: len(rows) for split, rows in splits.items()}),
        sets={split: _set_sizes(rows) for split, rows in splits.items()},
        matching=matched.counts,
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


@dataclass(frozen=True)
class _Matched:
    """The splits with unmatched conversations out of the contrast, and the counts of each matched split."""

    splits: Splits
    counts: dict[Split, MatchedCounts]


def _match(splits: Splits, config: MatchingConfig) -> _Matched:
    matched = {split: _match_split(split, splits[split], config) for split in _MATCHED}
    rows = {split: rows for split, (rows, _) in matched.items()}
    return _Matched({**splits, **rows}, {split: counts for split, (_, counts) in matched.items()})


def _match_split(
    split: Split, rows: list[Conversation], config: MatchingConfig
) -> tuple[list[Conversation], MatchedCounts]:
    contrast = contrast_of(rows)
    try:
        pairs = matched_pairs(contrast, config)
    except DataError as error:
        raise DataError(f"the {split} split: {error}") from error
    unmatched = {row.id for row in contrast} - {row_id for pair in pairs for row_id in pair}
    positive = sum(row.label == "positive" for row in contrast)
    counts = MatchedCounts(positive=positive, negative=len(contrast) - positive, pairs=len(pairs))
    return [row.model_copy(update={"contrast": False}) if row.id in unmatched else row for row in rows], counts


def _check_split(split: Split, rows: list[Conversation], path: str) -> None:
    if not any(row.set == "target" for row in rows):
        raise DataError(
            f"the {split} split of {path} has no conversation of set `target`: add conversations of more groups, or "
            f"give `splits.{split}` a larger share"
        )
    labels = {row.label for row in contrast_of(rows)}
    missing = [label for label in ("positive", "negative") if label not in labels]
    if split != "test" and missing:
        raise DataError(
            f"the {split} split of {path} has no target conversation labelled {' or '.join(missing)}: the methods "
            "learn from both sides; label more conversations, of more groups"
        )
