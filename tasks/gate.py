"""The gate stage: from the test split's verdicts to numbers with intervals, gate decisions and the winner."""

import torch
from safetensors import SafetensorError
from safetensors.torch import load

from mascing.errors import DataError
from mascing.evidence.comparisons import comparisons
from mascing.evidence.gates import decide_condition, decide_labels
from mascing.evidence.results import (
    CONTROL,
    baseline_of,
    changes_by_set,
    further_gated,
    label_agreement,
    method_result,
    winner,
)
from mascing.masks.precision import circuit_precision
from mascing.schemas.config import RunConfig
from mascing.schemas.manifest import Manifest
from mascing.schemas.methods import MethodsConfig
from mascing.schemas.result import Baseline, MethodResult, Rate
from mascing.storage.object_storage import Storage
from mascing.storage.source import Source, read_source
from mascing.tasks.evaluate import verdicts_of
from mascing.tasks.prepare import conversations_of
from mascing.tasks.robustness import condition_verdicts
from mascing.tasks.running.judged import BASELINE
from mascing.tasks.running.stage import Body, StageRun, run_stage
from mascing.tasks.selecting import selected_of


def gate(
    storage: Storage, config: RunConfig, prepared: Manifest, selected: Manifest, evaluated: Manifest, robust: Manifest
) -> StageRun:
    """No shards. Facts:

    ``baseline``, ``methods`` (MethodResult by name), the ``winner``'s name or None, ``labels`` (their agreement with
    the unsteered model, or None), ``comparisons``, and ``robustness``: the paired change of each set by method and
    condition.
    """
    truth = read_source(config.behaviour.truth) if config.behaviour.truth is not None else None
    return run_stage(
        storage,
        "gate",
        config.behaviour.name,
        identity={"gates": config.gates, "robustness": config.robustness, "truth": truth.sha256 if truth else None},
        inputs={"prepare": prepared, "select": selected, "evaluate": evaluated, "robustness": robust},
        body=lambda _: _decide(storage, config, prepared, selected, evaluated, robust, truth),
    )


def baseline_from(gated: Manifest) -> Baseline:
    """The unsteered model on the test split."""
    return Baseline.model_validate(gated.facts["baseline"])


def results_from(gated: Manifest) -> dict[str, MethodResult]:
    """Each method on the test split, in the order of the config: built-in ones, the user's own by name, the control."""
    methods = gated.facts["methods"]
    built_in = [name for name in MethodsConfig.model_fields if name != CONTROL]
    own = sorted(methods.keys() - {*built_in, CONTROL})
    order = [name for name in (*built_in, *own, CONTROL) if name in methods]
    return {name: MethodResult.model_validate(methods[name]) for name in order}


def _decide(
    storage: Storage,
    config: RunConfig,
    prepared: Manifest,
    selected: Manifest,
    evaluated: Manifest,
    robust: Manifest,
    truth: Source | None,
) -> Body:
    verdicts = verdicts_of(storage, evaluated)
    truth_LE = _truth(truth, config.behaviour.truth) if truth else None
    labels = label_agreement(conversations_of(storage, prepared, "test"), verdicts[BASELINE])
    robustness = _robustness(storage, robust)
    methods: dict[str, MethodResult] = {}
    picks = selected_of(storage, selected)
    for name, candidate in picks.items():
        plain = method_result(
            verdicts[BASELINE],
            verdicts[name],
            selected=candidate.cell,
            circuit_precision=None if truth_LE is None else circuit_precision(candidate.mask, truth_LE),
            gates=config.gates,
        )
        further = [
            decide_labels(labels, config.gates),
            *(
                decide_condition(condition, changes, config.gates, config.robustness)
                for condition, changes in robustness.get(name, {}).items()
            ),
        ]
        methods[name] = further_gated(plain, further)
    facts = {
        "baseline": baseline_of(verdicts[BASELINE]).model_dump(mode="json"),
        "methods": {name: result.model_dump(mode="json") for name, result in methods.items()},
        "winner": winner(methods, {name: candidate.mask.entries for name, candidate in picks.items()}),
        "labels": labels.model_dump(mode="json") if labels else None,
        "comparisons": [
            {**vars(one), "difference": one.difference.model_dump(mode="json")}
            for one in comparisons(verdicts, BASELINE)
        ],
        "robustness": {
            method: {
                condition: {name: change.model_dump(mode="json") for name, change in changes.items()}
                for condition, changes in found.items()
            }
            for method, found in robustness.items()
        },
    }
    return Body([], rows_in=0, facts=facts)


def _robustness(storage: Storage, robust: Manifest) -> dict[str, dict[str, dict[str, Rate]]]:
    """The paired change of each set under each condition, by method, then condition, then set."""
    found: dict[str, dict[str, dict[str, Rate]]] = {}
    for condition, judged in condition_verdicts(storage, robust).items():
        for method, verdicts in judged.items():
            if method != BASELINE:
                found.setdefault(method, {})[condition] = changes_by_set(judged[BASELINE], verdicts)
    return found


def _truth(source: Source, path: str | None) -> torch.Tensor:
    try:
        bias: torch.Tensor = load(source.data)["bias"]
    except (SafetensorError, KeyError) as error:
        raise DataError(
            f"{path} holds no tensor `bias` [L, E]: {error}; correct `behaviour.truth` or drop it"
        ) from error
    return bias
