"""The evaluate stage judges replies on the test split: of each method's pick and of the unsteered model."""

from dataclasses import dataclass

import pyarrow as pa

from mascing.masks.mask import Mask
from mascing.runs.files import verdicts_file
from mascing.runs.readers import conversations_of, selected_of, unsteered_of
from mascing.schemas.config import RunConfig
from mascing.schemas.conversation import Conversation
from mascing.schemas.facts import EvaluateFacts
from mascing.schemas.finished import Evaluated, Labelled, Selected
from mascing.schemas.tables import VERDICTS
from mascing.storage import parquet
from mascing.storage.manifests import StageOutput
from mascing.storage.object_storage import Storage
from mascing.tasks.running.actors import Pool, Worker
from mascing.tasks.running.identity import judged_replies_identity
from mascing.tasks.running.judged import BASELINE, Row, judged_replies
from mascing.tasks.running.stage import Body, Finished, Placed, Recipe, run_stage, steps

# Conversations per work item. Fixed, so that the number of workers never changes what an item contains.
_CONVERSATIONS = 256


def evaluate(
    storage: Storage, config: RunConfig, labelled: Labelled, selected: Selected, *, pool: Pool
) -> Finished[Evaluated]:
    """Write ``verdicts-<method>.parquet`` for each method and for `baseline`, one row per judged reply.

    The rows of `baseline` are those of the label stage.
    """
    return run_stage(
        storage,
        recipe(config, labelled, selected),
        lambda output: _evaluate(output, storage, config, labelled, selected, pool),
    )


def recipe(config: RunConfig, labelled: Placed, selected: Placed) -> Recipe[Evaluated]:
    """The recipe that identifies the verdicts."""
    inputs = {"label": labelled, "select": selected}
    return Recipe(Evaluated, config.behaviour.name, judged_replies_identity(config), inputs)


@dataclass(frozen=True)
class _Item:
    method: str
    mask: Mask
    conversations: tuple[Conversation, ...]


def _evaluate(
    output: StageOutput[Evaluated],
    storage: Storage,
    config: RunConfig,
    labelled: Labelled,
    selected: Selected,
    pool: Pool,
) -> Body:
    conversations = conversations_of(storage, labelled, "test")
    unsteered = unsteered_of(storage, labelled, "test")
    masks = {method: candidate.mask for method, candidate in selected_of(storage, selected).items()}
    items = [
        _Item(method, mask, tuple(conversations[start : start + _CONVERSATIONS]))
        for method, mask in masks.items()
        for start in range(0, len(conversations), _CONVERSATIONS)
    ]
    rows: dict[str, list[Row]] = {BASELINE: [unsteered[conversation.id] for conversation in conversations]}
    rows |= {method: [] for method in masks}
    for item, judged in zip(items, pool.map(_judge, config, items, steps("evaluate")), strict=True):
        rows[item.method] += judged
    shards = [
        output.put(verdicts_file(method), parquet.to_bytes(pa.Table.from_pylist(judged, schema=VERDICTS)), len(judged))
        for method, judged in rows.items()
    ]
    return Body(shards, EvaluateFacts(methods=tuple(rows)), rows_in=len(rows) * len(conversations))


def _judge(worker: Worker, config: RunConfig, item: _Item) -> list[Row]:
    [rows] = judged_replies(worker, config, item.conversations, [(item.method, item.mask)])
    return rows
