"""The gate stage: from the test split's verdicts to numbers with intervals, gate decisions and the winner."""

from collections.abc import Mapping

import torch
from safetensors import SafetensorError
from safetensors.torch import load

from mascing.errors import DataError
from mascing.precision import circuit_precision
from mascing.results import baseline_of, method_result, winner
from mascing.storage import Storage
from schemas.config import MethodsConfig, RunConfig
from schemas.manifest import Manifest
from schemas.result import Baseline, MethodResult
from tasks.evaluate import verdicts_of
from tasks.judged import BASELINE
from tasks.select import selected_of
from tasks.source import Source, read_source
from tasks.stage import Body, StageRun, run_stage


def gate(storage: Storage, config: RunConfig, selected: Manifest, evaluated: Manifest) -> StageRun:
    """No shards; facts: ``baseline``, ``methods`` (MethodResult by name) and the ``winner``'s name or None."""
    truth = read_source(config.behaviour.truth) if config.behaviour.truth is not None else None
    return run_stage(
        storage,
        "gate",
        config.behaviour.name,
        identity={"gates": config.gates, "truth": truth.sha256 if truth else None},
        inputs={"select": selected, "evaluate": evaluated},
        body=lambda _: _decide(storage, config, selected, evaluated, truth),
    )


def baseline_from(gated: Manifest) -> Baseline:
    """The unsteered model on the test split."""
    return Baseline.model_validate(gated.facts["baseline"])


def results_from(gated: Manifest) -> dict[str, MethodResult]:
    """Each method on the test split, in the order of the config; the control comes last."""
    methods = gated.facts["methods"]
    return {name: MethodResult.model_validate(methods[name]) for name in MethodsConfig.model_fields if name in methods}


def _decide(storage: Storage, config: RunConfig, selected: Manifest, evaluated: Manifest, truth: Source | None) -> Body:
    verdicts = verdicts_of(storage, evaluated)
    truth_LE = _truth(truth, config.behaviour.truth) if truth else None
    methods: dict[str, MethodResult] = {}
    for name, candidate in selected_of(storage, selected).items():
        methods[name] = method_result(
            verdicts[BASELINE],
            verdicts[name],
            selected=candidate.cell,
            circuit_precision=None if truth_LE is None else circuit_precision(candidate.mask, truth_LE),
            gates=config.gates,
        )
    facts = {
        "baseline": baseline_of(verdicts[BASELINE]).model_dump(mode="json"),
        "methods": _plain(methods),
        "winner": winner(methods),
    }
    return Body([], rows_in=0, facts=facts)


def _truth(source: Source, path: str | None) -> torch.Tensor:
    try:
        bias: torch.Tensor = load(source.data)["bias"]
    except (SafetensorError, KeyError) as error:
        raise DataError(
            f"{path} holds no tensor `bias` [L, E]: {error}; correct `behaviour.truth` or drop it"
        ) from error
    return bias


def _plain(methods: Mapping[str, MethodResult]) -> dict[str, object]:
    return {name: result.model_dump(mode="json") for name, result in methods.items()}
