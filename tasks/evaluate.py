"""The evaluate stage judges replies on the test split: of each method's pick and of the unsteered model."""

from collections.abc import Sequence

import pyarrow as pa

from mascing.runs.files import verdicts_file
from mascing.runs.readers import conversations_of, selected_of, unsteered_of
from mascing.schemas.config import RunConfig
from mascing.schemas.conversation import Conversation
from mascing.schemas.facts import EvaluateFacts
from mascing.schemas.finished import Evaluated, Labelled, Selected
from mascing.schemas.tables import VERDICTS
from mascing.storage import parquet
from mascing.storage.fingerprint import fingerprint
from mascing.storage.manifests import StageOutput
from mascing.storage.object_storage import Storage
from mascing.tasks.running.identity import judged_replies_identity
from mascing.tasks.running.judged import BASELINE, Judged, Judging, Steered
from mascing.tasks.running.stage import Body, Finished, Part, Placed, Recipe, run_stage, steps
from mascing.tasks.workers.pool import Pool


def evaluate(
    storage: Storage, config: RunConfig, labelled: Labelled, selected: Selected, *, pool: Pool
) -> Finished[Evaluated]:
    """Write ``verdicts-<method>.parquet`` for each method and for `baseline`, one row per judged reply.

    The rows of `baseline` are those of the label stage.
    """
    conversations = conversations_of(storage, labelled, "test")
    unsteered = unsteered_of(storage, labelled, "test")
    baseline = Judged([unsteered[conversation.id] for conversation in conversations])
    read = Part(labelled, fingerprint([conversations, baseline.rows]))
    return run_stage(
        storage,
        recipe(config, read, selected),
        lambda output: _evaluate(
            output, Judging(pool, storage, config, labelled.facts.checkpoint), conversations, baseline, selected
        ),
    )


def recipe(config: RunConfig, labelled: Placed, selected: Placed) -> Recipe[Evaluated]:
    """The recipe that identifies the verdicts."""
    inputs = {"label": labelled, "select": selected}
    return Recipe(Evaluated, config.behaviour.name, judged_replies_identity(config), inputs)


def _evaluate(
    output: StageOutput[Evaluated],
    judging: Judging,
    conversations: Sequence[Conversation],
    baseline: Judged,
    selected: Selected,
) -> Body:
    picks = selected_of(judging.storage, selected)
    masks: list[Steered] = [(method, candidate.mask) for method, candidate in picks.items()]
    judged = judging.judge(conversations, masks, steps("evaluate"))
    methods = (BASELINE, *(method for method, _ in masks))
    shards = [
        output.put(
            verdicts_file(method), parquet.to_bytes(pa.Table.from_pylist(part.rows, schema=VERDICTS)), len(part.rows)
        )
        for method, part in zip(methods, [baseline, *judged], strict=True)
    ]
    return Body(shards, EvaluateFacts(methods=methods), rows_in=len(methods) * len(conversations))
