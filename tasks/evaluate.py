"""The evaluate stage judges replies on the test split: of each method's pick and of the unsteered model."""

from collections.abc import Sequence

import pyarrow as pa

from mascing.models.checkpoints import checkpoint_fingerprint
from mascing.runs.files import verdicts_file
from mascing.runs.readers import conversations_of, selected_of
from mascing.schemas.config import RunConfig
from mascing.schemas.conversation import Conversation
from mascing.schemas.facts import EvaluateFacts
from mascing.schemas.finished import Evaluated, Prepared, Selected
from mascing.schemas.tables import VERDICTS
from mascing.storage import parquet
from mascing.storage.fingerprint import fingerprint
from mascing.storage.manifests import StageOutput
from mascing.storage.object_storage import Storage
from mascing.tasks.running.actors import Pool
from mascing.tasks.running.identity import judged_replies_identity
from mascing.tasks.running.judged import BASELINE, Steered, judged_in_pieces
from mascing.tasks.running.stage import Body, Finished, Part, Placed, Recipe, run_stage, steps


def evaluate(
    storage: Storage, config: RunConfig, prepared: Prepared, selected: Selected, *, pool: Pool
) -> Finished[Evaluated]:
    """Write ``verdicts-<method>.parquet`` for each method and for `baseline`, one row per judged reply."""
    conversations = conversations_of(storage, prepared, "test")
    return run_stage(
        storage,
        recipe(config, Part(prepared, fingerprint(conversations)), selected),
        lambda output: _evaluate(output, storage, config, conversations, selected, pool),
    )


def recipe(config: RunConfig, prepared: Placed, selected: Placed) -> Recipe[Evaluated]:
    """The recipe that identifies the verdicts."""
    inputs = {"prepare": prepared, "select": selected}
    return Recipe(Evaluated, config.behaviour.name, judged_replies_identity(config), inputs)


def _evaluate(
    output: StageOutput[Evaluated],
    storage: Storage,
    config: RunConfig,
    conversations: Sequence[Conversation],
    selected: Selected,
    pool: Pool,
) -> Body:
    picks = selected_of(storage, selected)
    masks: list[Steered] = [(BASELINE, None), *((method, candidate.mask) for method, candidate in picks.items())]
    checkpoint = checkpoint_fingerprint(config.model)
    judged = judged_in_pieces(pool, storage, config, checkpoint, conversations, masks, steps("evaluate"))
    shards = [
        output.put(
            verdicts_file(method), parquet.to_bytes(pa.Table.from_pylist(part.rows, schema=VERDICTS)), len(part.rows)
        )
        for (method, _), part in zip(masks, judged, strict=True)
    ]
    methods = tuple(method for method, _ in masks)
    return Body(shards, EvaluateFacts(methods=methods), rows_in=len(masks) * len(conversations))
