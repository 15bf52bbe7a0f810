"""The robustness stage judges the masks that pass the plain gates again, under changed conditions, on the pool."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from mascing.conversations.conditions import Condition, conditions
from mascing.engines.generation import prompts_of
from mascing.errors import DataError
from mascing.evidence.gates import decide_labels
from mascing.evidence.results import CONTROL, label_agreement, method_result
from mascing.judges.judge import summed
from mascing.masks.mask import Mask
from mascing.runs.files import condition_file
from mascing.runs.readers import conversations_of, selected_of, unsteered_table, verdicts_of
from mascing.runs.stored_conversations import StoredConversations
from mascing.runs.table_parts import StoredTable
from mascing.schemas.config import RunConfig
from mascing.schemas.facts import RobustnessFacts
from mascing.schemas.finished import Evaluated, Labelled, Prepared, RobustnessTested, Selected
from mascing.storage import parquet
from mascing.storage.fingerprint import Streamed, fingerprint
from mascing.storage.manifests import StageOutput
from mascing.storage.object_storage import Storage
from mascing.tasks.replying.judged import BASELINE, Judging, Steered
from mascing.tasks.running.identity import engine_part, judged_replies_identity
from mascing.tasks.running.stage import Body, Finished, Part, Placed, Recipe, run_stage, steps
from mascing.tasks.streaming.asked import Asked
from mascing.tasks.workers.pool import Pool
from mascing.tasks.workers.worker import Worker


def robustness(
    storage: Storage,
    config: RunConfig,
    prepared: Prepared,
    labelled: Labelled,
    selected: Selected,
    evaluated: Evaluated,
    *,
    pool: Pool,
) -> Finished[RobustnessTested]:
    """Write ``condition-<number>-<method>.parquet`` for `baseline` and each method that passes the plain gates.

    If no method passes, there are no conditions and nothing is judged.
    """
    brought, conversations = (conversations_of(storage, source, "test") for source in (prepared, labelled))
    verdicts = unsteered_table(storage, labelled, "test")
    unsteered = _Unsteered(config, labelled.facts.checkpoint, conversations, verdicts)

    def body(output: StageOutput[RobustnessTested]) -> Body:
        picks = {method: candidate.mask for method, candidate in selected_of(storage, selected).items()}
        passing = _passing(config, brought, verdicts_of(storage, evaluated), list(picks))
        masks = {method: picks[method] for method in passing}
        return _judge_all(output, storage, unsteered, masks, pool)

    of_label = fingerprint([Streamed(conversations), Streamed(verdicts.rows())])
    read = Part(prepared, fingerprint(Streamed(brought))), Part(labelled, of_label)
    return run_stage(storage, recipe(config, *read, selected, evaluated), body)


def recipe(
    config: RunConfig, prepared: Placed, labelled: Placed, selected: Placed, evaluated: Placed
) -> Recipe[RobustnessTested]:
    """The recipe that identifies the verdicts; it holds the gates because they decide which masks are judged."""
    identity = {
        **judged_replies_identity(config),
        **engine_part(config),
        "gates": config.gates,
        "conditions": config.robustness.model_dump(exclude={"uplift_share", "loss_factor"}),
    }
    inputs = {"prepare": prepared, "label": labelled, "select": selected, "evaluate": evaluated}
    return Recipe(RobustnessTested, config.behaviour.name, identity, inputs)


@dataclass(frozen=True)
class _Unsteered:
    """The test conversations, and in their order the label stage's verdicts on the unsteered model's replies.

    ``checkpoint`` is the fingerprint of weights and tokenizer.
    """

    config: RunConfig
    checkpoint: str
    conversations: StoredConversations
    verdicts: StoredTable

    def under(self, condition: Condition) -> pa.Table | None:
        """The verdicts under a condition that changes neither messages nor generation; else None."""
        if condition.generation != self.config.generation:
            return None
        asked = {row.id: row.messages for row in condition.conversations}
        same = {row.id: place for place, row in enumerate(self.conversations) if asked.get(row.id) == row.messages}
        return self.verdicts.take([same[name] for name in asked]) if len(same) == len(asked) else None


def _judge_all(
    output: StageOutput[RobustnessTested],
    storage: Storage,
    unsteered: _Unsteered,
    passing: Mapping[str, Mask],
    pool: Pool,
) -> Body:
    config = unsteered.config
    configured = conditions(config.robustness, unsteered.conversations, config.generation) if passing else []
    possible, left_out = _possible(configured, config, pool)
    masks: list[Steered] = [(BASELINE, None), *passing.items()] if possible else []
    shards, costs = [], []
    for number, condition in enumerate(possible):
        changed = config.model_copy(update={"generation": condition.generation})
        progress = steps("robustness", condition.name)
        known = unsteered.under(condition)
        asked = masks[1:] if known is not None else masks
        judging = Judging(pool, storage, changed, unsteered.checkpoint)
        judged = judging.judge(Asked.given(condition.conversations), asked, progress)
        costs.append(judging.cost)
        tables = [pa.concat_tables(of_mask.tables()) for of_mask in judged]
        for (method, _), table in zip(masks, tables if known is None else [known, *tables], strict=True):
            data = parquet.to_bytes(table.combine_chunks())
            shards.append(output.put(condition_file(number, method), data, len(table)))
    facts = RobustnessFacts(
        conditions=tuple(condition.name for condition in possible),
        methods=tuple(method for method, _ in masks),
        left_out=left_out,
        judging_cost=summed(costs),
    )
    return Body(shards, facts, rows_in=sum(shard.rows for shard in shards))


def _possible(configured: Sequence[Condition], config: RunConfig, pool: Pool) -> tuple[list[Condition], dict[str, str]]:
    """The conditions that the data and the chat template allow, and the reason for each that is left out."""
    left_out = {condition.name: condition.left_out for condition in configured if condition.left_out is not None}
    allowed = [condition for condition in configured if condition.left_out is None]
    refusals = pool.map(_refusal, config, allowed, _silent) if allowed else []
    left_out |= {
        condition.name: reason for condition, reason in zip(allowed, refusals, strict=True) if reason is not None
    }
    return [condition for condition in allowed if condition.name not in left_out], left_out


def _passing(
    config: RunConfig, conversations: StoredConversations, verdicts: Mapping[str, pa.Table], methods: Sequence[str]
) -> list[str]:
    """The methods that pass the plain gates, without the control; none pass if the labels fail."""
    labels, _ = decide_labels(label_agreement(conversations, verdicts[BASELINE]), config.gates)
    if labels == "fail":
        return []
    return [
        method
        for method in methods
        if method != CONTROL
        and method_result(
            verdicts[BASELINE], verdicts[method], selected={}, circuit_precision=None, gates=config.gates
        ).gate
        == "pass"
    ]


def _refusal(worker: Worker, config: RunConfig, condition: Condition) -> str | None:
    """Why the chat template cannot render the conversations of a condition; None if it can."""
    try:
        prompts_of(worker.model(config.model), condition.conversations, condition.generation)
    except DataError as error:
        return str(error)
    return None


def _silent(done: int, total: int) -> None:
    """Report no progress: checking the chat template takes a moment."""
