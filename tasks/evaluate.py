"""The evaluate stage: the test split, judged once for each method's pick and for the unsteered model, on the pool."""

from dataclasses import dataclass

import pyarrow as pa

from mascing.masks.mask import Mask
from mascing.schemas.config import RunConfig
from mascing.schemas.conversation import Conversation
from mascing.schemas.manifest import Manifest
from mascing.schemas.tables import VERDICTS
from mascing.storage import parquet as tables
from mascing.storage.manifests import StageOutput, read_shard
from mascing.storage.object_storage import Storage
from mascing.tasks.prepare import conversations_of
from mascing.tasks.running.actors import Pool, Worker
from mascing.tasks.running.judged import BASELINE, Row, judged_replies
from mascing.tasks.running.stage import Body, StageRun, run_stage, steps
from mascing.tasks.selecting import selected_of

# Conversations an item. It is part of the work, not of its placement: how many workers there are never changes it.
_CONVERSATIONS = 256


def evaluate(storage: Storage, config: RunConfig, prepared: Manifest, selected: Manifest, *, pool: Pool) -> StageRun:
    """``verdicts-<method>.parquet`` for each method and for `baseline`; a row is a judged reply."""
    return run_stage(
        storage,
        "evaluate",
        config.behaviour.name,
        identity={
            "judges": [config.behaviour.target, config.behaviour.utility, config.behaviour.protected],
            "max_new_tokens": config.generation.max_new_tokens,
            "temperature": config.generation.temperature,
        },
        inputs={"prepare": prepared, "select": selected},
        body=lambda output: _evaluate(output, storage, config, prepared, selected, pool),
    )


def verdicts_of(storage: Storage, evaluated: Manifest) -> dict[str, pa.Table]:
    """The VERDICTS table of each method and of `baseline`, in the order of the test split."""
    return {
        shard.name.removeprefix("verdicts-").removesuffix(".parquet"): tables.from_bytes(
            read_shard(storage, evaluated, shard.name)
        )
        for shard in evaluated.shards
    }


@dataclass(frozen=True)
class _Item:
    method: str
    mask: Mask | None
    conversations: tuple[Conversation, ...]


def _evaluate(
    output: StageOutput, storage: Storage, config: RunConfig, prepared: Manifest, selected: Manifest, pool: Pool
) -> Body:
    conversations = conversations_of(storage, prepared, "test")
    masks: dict[str, Mask | None] = {BASELINE: None}
    masks |= {method: candidate.mask for method, candidate in selected_of(storage, selected).items()}
    items = [
        _Item(method, mask, tuple(conversations[start : start + _CONVERSATIONS]))
        for method, mask in masks.items()
        for start in range(0, len(conversations), _CONVERSATIONS)
    ]
    made = pool.map(_judge, config, items, steps("evaluate"))
    rows: dict[str, list[Row]] = {method: [] for method in masks}
    for item, judged in zip(items, made, strict=True):
        rows[item.method] += judged
    shards = [
        output.put(
            f"verdicts-{method}.parquet",
            tables.to_bytes(pa.Table.from_pylist(judged, schema=VERDICTS)),
            len(judged),
        )
        for method, judged in rows.items()
    ]
    return Body(shards, rows_in=len(masks) * len(conversations))


def _judge(worker: Worker, config: RunConfig, item: _Item) -> list[Row]:
    [rows] = judged_replies(worker, config, item.conversations, [(item.method, item.mask)])
    return rows
