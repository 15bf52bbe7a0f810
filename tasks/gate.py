"""The gate stage turns verdicts on the test split into rates with intervals, gate decisions and the winner."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
from torch import Tensor

from mascing.evidence.comparisons import comparisons
from mascing.evidence.gates import decide_condition, decide_judges, decide_labels, decide_topic, judges_of
from mascing.evidence.results import (
    baseline_of,
    changes_by_set,
    further_gated,
    label_agreement,
    method_result,
    rates_by_set,
    winner,
)
from mascing.masks.candidates import Candidate
from mascing.masks.precision import circuit_precision
from mascing.runs.readers import (
    condition_verdicts,
    conversations_of,
    selected_of,
    truth_from,
    verdicts_of,
)
from mascing.schemas.cards.topic_null import TopicCheck
from mascing.schemas.config import RunConfig
from mascing.schemas.facts import GateFacts
from mascing.schemas.finished import Evaluated, Gated, Prepared, RobustnessTested, Selected, Trained
from mascing.schemas.result import MethodResult, Rate
from mascing.storage.object_storage import Storage
from mascing.storage.source import Source, read_source
from mascing.tasks.replying.judged import BASELINE
from mascing.tasks.running.stage import Body, Finished, Placed, Recipe, run_stage
from mascing.topics.doubts import topic_checks

Rates = Mapping[str, Mapping[str, Rate]]
"""A rate or a paired change of each set, by condition."""


def gate(
    storage: Storage,
    config: RunConfig,
    prepared: Prepared,
    trained: Trained,
    selected: Selected,
    evaluated: Evaluated,
    tested: RobustnessTested,
) -> Finished[Gated]:
    """Decide the gates of every method; the stage writes no shards, its decisions are its facts."""
    truth = read_source(config.behaviour.truth) if config.behaviour.truth is not None else None

    def body(_: object) -> Body:
        verdicts = verdicts_of(storage, evaluated)
        conditions = condition_verdicts(storage, tested)
        brought = conversations_of(storage, prepared, "test")
        evidence = _Evidence(
            config=config,
            picks=selected_of(storage, selected),
            order=selected.facts.order,
            verdicts=verdicts,
            labels=label_agreement(brought, verdicts[BASELINE]),
            robustness=_robustness(conditions),
            unsteered={condition: rates_by_set(judged[BASELINE]) for condition, judged in conditions.items()},
            topics=topic_checks(trained.facts),
            truth_LE=truth_from(truth.data, config.behaviour.truth) if truth else None,
        )
        return Body([], _decide(evidence), rows_in=0)

    return run_stage(storage, recipe(config, truth, prepared, trained, selected, evaluated, tested), body)


def recipe(
    config: RunConfig,
    truth: Source | None,
    prepared: Placed,
    trained: Placed,
    selected: Placed,
    evaluated: Placed,
    tested: Placed,
) -> Recipe[Gated]:
    """The recipe that identifies the decisions.

    The settings that make the conditions are missing: they identify the robustness stage, which is an input.
    """
    identity = {
        "gates": config.gates,
        "robustness": [config.robustness.uplift_share, config.robustness.loss_factor],
        "truth": truth.sha256 if truth else None,
    }
    inputs = {"prepare": prepared, "train": trained, "select": selected, "evaluate": evaluated, "robustness": tested}
    return Recipe(Gated, config.behaviour.name, identity, inputs)


@dataclass(frozen=True)
class _Evidence:
    """The inputs of the decisions; ``picks``, ``verdicts`` and ``robustness`` are keyed by method.

    ``order`` ranks the methods on dev. ``unsteered`` holds the rates of the unsteered model under each condition, and
    ``topics`` by span whether topic explains what was learned from.
    """

    config: RunConfig
    picks: Mapping[str, Candidate]
    order: Sequence[str]
    verdicts: Mapping[str, pa.Table]
    labels: Rate | None
    robustness: Mapping[str, Rates]
    unsteered: Rates
    topics: Mapping[str, TopicCheck]
    truth_LE: Tensor | None


def _decide(evidence: _Evidence) -> GateFacts:
    methods = {method: _result(evidence, method) for method in evidence.picks}
    first_on_dev = next(iter(evidence.order), None)
    return GateFacts(
        baseline=baseline_of(evidence.verdicts[BASELINE]),
        methods=methods,
        first_on_dev=first_on_dev,
        winner=winner(methods, first_on_dev),
        labels=evidence.labels,
        comparisons=tuple(comparisons(evidence.verdicts, BASELINE)),
        robustness={
            method: {condition: dict(sets) for condition, sets in changes.items()}
            for method, changes in evidence.robustness.items()
        },
    )


def _result(evidence: _Evidence, method: str) -> MethodResult:
    """The result of one method on the test split, after all gates: its rates, judges, labels, topic, each condition."""
    gates, candidate, truth_LE = evidence.config.gates, evidence.picks[method], evidence.truth_LE
    plain = method_result(
        evidence.verdicts[BASELINE],
        evidence.verdicts[method],
        selected=candidate.cell,
        circuit_precision=None if truth_LE is None else circuit_precision(candidate.mask, truth_LE),
        gates=gates,
    )
    conditions = [
        decide_condition(condition, changes, evidence.unsteered[condition], gates, evidence.config.robustness)
        for condition, changes in evidence.robustness.get(method, {}).items()
    ]
    judges = decide_judges(judges_of(evidence.config.behaviour, rates_by_set(evidence.verdicts[BASELINE])))
    # Only methods that compare the routing of the classes read a span: the others do not rest on that comparison.
    check = evidence.topics.get(str(candidate.cell.get("span")))
    topic = [] if check is None else [decide_topic(check, gates)]
    return further_gated(plain, [judges, decide_labels(evidence.labels, gates), *topic, *conditions])


def _robustness(conditions: Mapping[str, Mapping[str, pa.Table]]) -> dict[str, dict[str, dict[str, Rate]]]:
    """The paired change of each set, keyed by method, then condition, then set."""
    changes: dict[str, dict[str, dict[str, Rate]]] = {}
    for condition, judged in conditions.items():
        for method, verdicts in judged.items():
            if method != BASELINE:
                changes.setdefault(method, {})[condition] = changes_by_set(judged[BASELINE], verdicts)
    return changes
