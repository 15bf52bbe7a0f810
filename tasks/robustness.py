"""The robustness stage: masks that pass the plain gates, judged once more under changed conditions, on the pool."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from mascing.conversations.conditions import Condition, conditions
from mascing.engines.generation import prompts_of
from mascing.errors import DataError
from mascing.evidence.gates import decide_labels
from mascing.evidence.results import CONTROL, label_agreement, method_result
from mascing.masks.mask import Mask
from mascing.schemas.config import RunConfig
from mascing.schemas.conversation import Conversation
from mascing.schemas.manifest import Manifest
from mascing.schemas.tables import VERDICTS
from mascing.storage import parquet as tables
from mascing.storage.manifests import StageOutput, read_shard
from mascing.storage.object_storage import Storage
from mascing.tasks.evaluate import verdicts_of
from mascing.tasks.prepare import conversations_of
from mascing.tasks.running.actors import Pool, Worker
from mascing.tasks.running.judged import BASELINE, Row, judged_replies
from mascing.tasks.running.stage import Body, StageRun, run_stage, steps
from mascing.tasks.selecting import selected_of


def robustness(
    storage: Storage, config: RunConfig, prepared: Manifest, selected: Manifest, evaluated: Manifest, *, pool: Pool
) -> StageRun:
    """``condition-<number>-<method>.parquet`` for `baseline` and each method that passes the plain gates.

    Facts: the ``conditions`` in order of their numbers, the ``methods`` judged, and ``left_out``: why a condition was
    not judged, by its name. Nothing is judged where no method passes: then there are no conditions.
    """
    return run_stage(
        storage,
        "robustness",
        config.behaviour.name,
        identity={
            "judges": [config.behaviour.target, config.behaviour.utility, config.behaviour.protected],
            "max_new_tokens": config.generation.max_new_tokens,
            "temperature": config.generation.temperature,
            "gates": config.gates,
            "robustness": config.robustness,
        },
        inputs={"prepare": prepared, "select": selected, "evaluate": evaluated},
        body=lambda output: _judge_all(output, storage, config, prepared, selected, evaluated, pool),
    )


def condition_verdicts(storage: Storage, judged: Manifest) -> dict[str, dict[str, pa.Table]]:
    """The VERDICTS tables by condition, then by method (`baseline` among them)."""
    return {
        name: {
            method: tables.from_bytes(read_shard(storage, judged, _shard_name(number, method)))
            for method in judged.facts["methods"]
        }
        for number, name in enumerate(judged.facts["conditions"])
    }


@dataclass(frozen=True)
class _Item:
    condition: Condition
    method: str
    mask: Mask | None


def _judge_all(
    output: StageOutput,
    storage: Storage,
    config: RunConfig,
    prepared: Manifest,
    selected: Manifest,
    evaluated: Manifest,
    pool: Pool,
) -> Body:
    conversations = conversations_of(storage, prepared, "test")
    picks = {name: candidate.mask for name, candidate in selected_of(storage, selected).items()}
    passing = _passing(config, conversations, verdicts_of(storage, evaluated), list(picks))
    asked = conditions(config.robustness, conversations, config.generation) if passing else []
    left_out = {one.name: one.left_out for one in asked if one.left_out is not None}
    possible = [one for one in asked if one.left_out is None]
    refusals = pool.map(_refusal, config, possible, _silent) if possible else []
    left_out |= {one.name: said for one, said in zip(possible, refusals, strict=True) if said is not None}
    judged = [one for one, said in zip(possible, refusals, strict=True) if said is None]
    masks: dict[str, Mask | None] = {BASELINE: None, **{name: picks[name] for name in passing}} if judged else {}
    items = [_Item(condition, method, mask) for condition in judged for method, mask in masks.items()]
    made = pool.map(_judge, config, items, steps("robustness")) if items else []
    shards = [
        output.put(
            _shard_name(judged.index(item.condition), item.method),
            tables.to_bytes(pa.Table.from_pylist(rows, schema=VERDICTS)),
            len(rows),
        )
        for item, rows in zip(items, made, strict=True)
    ]
    facts = {"conditions": [one.name for one in judged], "methods": list(masks), "left_out": left_out}
    return Body(shards, rows_in=sum(len(item.condition.conversations) for item in items), facts=facts)


def _passing(
    config: RunConfig, conversations: Sequence[Conversation], verdicts: Mapping[str, pa.Table], methods: Sequence[str]
) -> list[str]:
    """The methods that pass the plain gates; none where the labels fail. The control is never published."""
    labels, _ = decide_labels(label_agreement(conversations, verdicts[BASELINE]), config.gates)
    if labels == "fail":
        return []
    return [
        name
        for name in methods
        if name != CONTROL
        and method_result(
            verdicts[BASELINE], verdicts[name], selected={}, circuit_precision=None, gates=config.gates
        ).gate
        == "pass"
    ]


def _refusal(worker: Worker, config: RunConfig, condition: Condition) -> str | None:
    """Why this model's chat template cannot show the conversations of a condition; None where it can."""
    try:
        prompts_of(worker.model(config.model), condition.conversations, condition.generation)
    except DataError as error:
        return str(error)
    return None


def _judge(worker: Worker, config: RunConfig, item: _Item) -> list[Row]:
    changed = config.model_copy(update={"generation": item.condition.generation})
    [rows] = judged_replies(worker, changed, item.condition.conversations, [(item.method, item.mask)])
    return rows


def _silent(done: int, total: int) -> None:
    """No progress: a moment's work before the work."""


def _shard_name(number: int, method: str) -> str:
    return f"condition-{number}-{method}.parquet"
