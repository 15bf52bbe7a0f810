"""Read from a run's stages what would have changed the decision on each mask that did not pass."""

from collections.abc import Mapping, Sequence
from typing import Any

from mascing.evidence.remedies.missed import Missed, remedies_of
from mascing.evidence.results import CONTROL
from mascing.report.looks import in_order
from mascing.runs.readers import condition_verdicts, conversations_of, dev_verdicts_of, unsteered_of, verdicts_of
from mascing.schemas.config import RunConfig
from mascing.schemas.finished import RunStages
from mascing.schemas.result import Remedy
from mascing.selection.tried import dev_search
from mascing.storage.object_storage import Storage
from mascing.tasks.replying.judged import BASELINE

Rows = Sequence[Mapping[str, Any]]
"""Rows of the VERDICTS table (schemas/tables.py)."""


def remedies(storage: Storage, config: RunConfig, stages: RunStages) -> dict[str, tuple[Remedy, ...]]:
    """What would change the decision on each method that did not pass, by method; the control is none."""
    gated, evaluated, selected = stages.gate, stages.evaluate, stages.select
    if gated is None or evaluated is None or selected is None or stages.prepare is None or stages.label is None:
        return {}
    failed = {name: result for name, result in gated.facts.methods.items() if name != CONTROL and result.gate != "pass"}
    if not failed:
        return {}
    verdicts = {name: table.to_pylist() for name, table in verdicts_of(storage, evaluated).items()}
    conditions = condition_verdicts(storage, stages.robustness) if stages.robustness else {}
    brought = conversations_of(storage, stages.prepare, "test")
    on_dev, unsteered = dev_verdicts_of(storage, selected), unsteered_of(storage, stages.label, "dev")
    return {
        name: remedies_of(
            Missed(
                result=failed[name],
                before=verdicts[BASELINE],
                after=verdicts[name],
                conditions=_of_method(conditions, name),
                brought=brought,
                search=dev_search(name, selected.facts, on_dev.get(name, {}), unsteered, config.gates),
            ),
            config,
        )
        for name in in_order(failed)
    }


def _of_method(conditions: Mapping[str, Mapping[str, Any]], method: str) -> dict[str, tuple[Rows, Rows]]:
    """The verdicts without and with the mask, under each condition that it was judged under."""
    return {
        condition: (judged[BASELINE].to_pylist(), judged[method].to_pylist())
        for condition, judged in conditions.items()
        if method in judged
    }
