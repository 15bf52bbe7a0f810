"""The evaluate stage judges replies on the test split: of each method's pick and of the unsteered model."""

import pyarrow as pa

from mascing.runs.files import verdicts_file
from mascing.runs.readers import conversations_of, selected_of, unsteered_table
from mascing.runs.stored_conversations import StoredConversations
from mascing.runs.table_parts import StoredTable
from mascing.schemas.config import RunConfig
from mascing.schemas.facts import EvaluateFacts
from mascing.schemas.finished import Evaluated, Labelled, Selected
from mascing.storage import parquet
from mascing.storage.fingerprint import Streamed, fingerprint
from mascing.storage.manifests import StageOutput
from mascing.storage.object_storage import Storage
from mascing.tasks.replying.judged import BASELINE, Judging, Steered
from mascing.tasks.running.identity import engine_part, judged_replies_identity
from mascing.tasks.running.stage import Body, Finished, Part, Placed, Recipe, run_stage, steps
from mascing.tasks.streaming.asked import Asked
from mascing.tasks.workers.pool import Pool


def evaluate(
    storage: Storage, config: RunConfig, labelled: Labelled, selected: Selected, *, pool: Pool
) -> Finished[Evaluated]:
    """Write ``verdicts-<method>.parquet`` for each method and for `baseline`, one row per judged reply.

    The rows of `baseline` are those of the label stage.
    """
    conversations = conversations_of(storage, labelled, "test")
    unsteered = unsteered_table(storage, labelled, "test")
    read = Part(labelled, fingerprint([Streamed(conversations), Streamed(unsteered.rows())]))
    return run_stage(
        storage,
        recipe(config, read, selected),
        lambda output: _evaluate(
            output, Judging(pool, storage, config, labelled.facts.checkpoint), conversations, unsteered, selected
        ),
    )


def recipe(config: RunConfig, labelled: Placed, selected: Placed) -> Recipe[Evaluated]:
    """The recipe that identifies the verdicts."""
    inputs = {"label": labelled, "select": selected}
    identity = {**judged_replies_identity(config), **engine_part(config)}
    return Recipe(Evaluated, config.behaviour.name, identity, inputs)


def _evaluate(
    output: StageOutput[Evaluated],
    judging: Judging,
    conversations: StoredConversations,
    unsteered: StoredTable,
    selected: Selected,
) -> Body:
    picks = selected_of(judging.storage, selected)
    masks: list[Steered] = [(method, candidate.mask) for method, candidate in picks.items()]
    judged = judging.judge(Asked(conversations), masks, steps("evaluate"))
    methods = (BASELINE, *(method for method, _ in masks))
    shards = []
    for method, parts in zip(methods, [unsteered.parts(), *(of_mask.tables() for of_mask in judged)], strict=True):
        table = pa.concat_tables(parts).combine_chunks()
        shards.append(output.put(verdicts_file(method), parquet.to_bytes(table), len(table)))
    return Body(
        shards, EvaluateFacts(methods=methods, judging_cost=judging.cost), rows_in=len(methods) * len(conversations)
    )
