"""Read a run from storage: `result.json`, `inputs.json`, and the manifests and shards behind them."""

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from torch import Tensor

from mascing.errors import DataError
from mascing.masks.candidates import Candidate
from mascing.masks.rules import BiasRule, OverrideRule
from mascing.report.run_evidence import Evidence, MaskMap, Reply
from mascing.runs.files import CARD, truth_file
from mascing.runs.finished_run import read_inputs, read_result, stages_at
from mascing.runs.readers import (
    attribution_of,
    conversations_of,
    quarantined_of,
    selected_of,
    sigma_of,
    truth_from,
    unsteered_of,
    verdicts_of,
)
from mascing.runs.run_folder import StoredRun
from mascing.schemas.config import RunConfig
from mascing.schemas.finished import RunStages
from mascing.storage.manifests import read_shard
from mascing.storage.object_storage import Storage
from mascing.storage.source import read_source

Map = list[list[float]]


def read_evidence(storage: Storage, stored: StoredRun) -> Evidence:
    """Read the evidence of a run under ``storage``.

    Raises DataError if it is no finished run that this version can read, and StorageError if a shard in a manifest
    is missing or damaged.
    """
    run = stored.folder
    result, inputs = read_result(storage, run), read_inputs(storage, run)
    stages = stages_at(storage, inputs.stages)
    prepared, labelled = stages.prepare, stages.label
    return Evidence(
        result=result,
        config=inputs.run_config,
        stages=stages,
        written=stored.written,
        again=stored.again,
        maps=_maps(storage, stages),
        truth=_truth(storage, stages, inputs.run_config),
        attribution=_attribution(storage, stages),
        conversations=conversations_of(storage, labelled, "test").by_id() if labelled else {},
        replies=_replies(storage, stages),
        unsteered=_unsteered(storage, stages),
        quarantined=quarantined_of(storage, (prepared, labelled, stages.harvest)),
        card=_card(storage, stages),
    )


def _maps(storage: Storage, stages: RunStages) -> dict[str, MaskMap]:
    if stages.select is None or stages.harvest is None:
        return {}
    sigma_L = sigma_of(stages.harvest)
    return {method: _map(candidate, sigma_L) for method, candidate in selected_of(storage, stages.select).items()}


def _map(candidate: Candidate, sigma_L: Tensor) -> MaskMap:
    mask = candidate.mask
    match mask.rule:
        case BiasRule(bias_LE):
            values_LE = bias_LE / sigma_L[:, None]
        case OverrideRule(signed_LE=signed_LE):
            values_LE = signed_LE
    return MaskMap(candidate.method, mask.rule.name, values_LE.tolist(), mask.entries, mask.digest)


def _attribution(storage: Storage, stages: RunStages) -> Map | None:
    """Read the attribution, in nats per standard deviation of each layer's logits."""
    if stages.optimise is None or stages.harvest is None:
        return None
    effect_LE = attribution_of(storage, stages.optimise)
    if effect_LE is None:
        return None
    nats: Map = (effect_LE * sigma_of(stages.harvest)[:, None]).tolist()
    return nats


def _truth(storage: Storage, stages: RunStages, config: RunConfig) -> Map | None:
    """Read the planted circuit from the testbed stage of a demo, or else from the file in the configuration."""
    path = config.behaviour.truth
    if path is None:
        return None
    if stages.testbed is not None:
        data = read_shard(storage, stages.testbed, truth_file(config.behaviour.name))
    else:
        try:
            data = read_source(path).data
        except DataError:  # the page can be rebuilt without the file, and says so
            return None
    truth: Map = truth_from(data, path).tolist()
    return truth


def _replies(storage: Storage, stages: RunStages) -> dict[str, dict[str, Reply]]:
    if stages.evaluate is None:
        return {}
    return {
        method: {row["conversation_id"]: _reply(row) for row in verdicts.to_pylist()}
        for method, verdicts in verdicts_of(storage, stages.evaluate).items()
    }


def _unsteered(storage: Storage, stages: RunStages) -> dict[str, Reply]:
    if stages.label is None:
        return {}
    return {name: _reply(row) for name, row in unsteered_of(storage, stages.label, "test").items()}


def _reply(row: Mapping[str, Any]) -> Reply:
    # Verdicts of earlier versions lack the later columns.
    shown = {field.name: row[field.name] for field in fields(Reply) if field.name in row}
    return Reply(text=row["reply"], **shown)


def _card(storage: Storage, stages: RunStages) -> dict[str, Any]:
    card: dict[str, Any] = json.loads(read_shard(storage, stages.masks, CARD)) if stages.masks else {}
    return card
