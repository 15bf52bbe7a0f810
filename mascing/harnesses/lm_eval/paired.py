"""What a mask does to tasks of lm-evaluation-harness: the model without and with it, on the same samples.

The harness reports a standard error for each of two results; what they differ by is less uncertain, since both are of
the same samples.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from lm_eval import simple_evaluate

from mascing.errors import DataError
from mascing.harnesses.lm_eval.steered_lm import SteeredLM
from mascing.harnesses.lm_eval.task_change import MetricChange, TaskChanges
from mascing.schemas.verdict import Outcome
from mascing.statistics import holm, mean_difference, paired_difference, paired_p

Sample: TypeAlias = Mapping[str, Any]
_HASHES = ("doc_hash", "prompt_hash", "target_hash")


def task_changes(
    model: SteeredLM, tasks: Sequence[str | dict[str, Any]], *, cluster: str | None = None, **options: Any
) -> TaskChanges:
    """Run ``tasks`` without and with the mask of ``model``, and compare them sample by sample.

    ``cluster`` names the field of the documents that says which belong together, such as the passage that several
    questions are about; without it each document stands for itself. ``options`` are those of
    ``lm_eval.simple_evaluate``.

    Raises DataError if both runs did not answer the same samples, or no document has the field ``cluster``.
    """
    with model.steered.unsteered():
        before = _evaluated(model, tasks, options)
    after = _evaluated(model, tasks, options)
    changes = [change for task in before["samples"] for change in _changes_of(task, before, after, cluster)]
    tested = {number: change.p for number, change in enumerate(changes) if change.p is not None}
    adjusted = holm(tested)
    changes = [replace(change, holm_p=adjusted.get(number)) for number, change in enumerate(changes)]
    return TaskChanges(model.steered.facts(), tuple(changes), before, after)


def _evaluated(model: SteeredLM, tasks: Sequence[str | dict[str, Any]], options: Mapping[str, Any]) -> dict[str, Any]:
    # No bootstrap by default: its errors are those of one result.
    settings = {"bootstrap_iters": 0, **options, "log_samples": True}
    results: dict[str, Any] = simple_evaluate(model=model, tasks=list(tasks), **settings)
    return results


def _changes_of(
    task: str, before: Mapping[str, Any], after: Mapping[str, Any], cluster: str | None
) -> Iterator[MetricChange]:
    pairs = _paired(task, before["samples"][task], after["samples"][task])
    filters = dict.fromkeys(sample["filter"] for sample, _ in pairs)
    for name in filters:
        of_filter = [pair for pair in pairs if pair[0]["filter"] == name]
        groups = [_group(task, sample, cluster) for sample, _ in of_filter]
        for metric in of_filter[0][0]["metrics"]:
            reported = (results["results"][task].get(f"{metric},{name}") for results in (before, after))
            values = [(sample[metric], other[metric]) for sample, other in of_filter]
            yield _change(MetricChange(task, metric, name, len(values), *reported), values, groups)


def _paired(task: str, before: Sequence[Sample], after: Sequence[Sample]) -> list[tuple[Sample, Sample]]:
    """The samples of both runs by document and filter. Raises DataError unless they are the same."""
    first, second = ({(sample["doc_id"], sample["filter"]): sample for sample in run} for run in (before, after))
    if first.keys() != second.keys():
        raise DataError(f"{task}: the run with the mask answered other documents than the run without it")
    pairs = [(first[key], second[key]) for key in sorted(first)]
    for sample, other in pairs:
        changed = [name for name in _HASHES if sample[name] != other[name]]
        if changed:
            raise DataError(
                f"{task}: {' and '.join(changed)} of document {sample['doc_id']} differ between the runs without and "
                "with the mask: the task is not the same twice, so its results cannot be paired"
            )
    return pairs


def _group(task: str, sample: Sample, cluster: str | None) -> str:
    if cluster is None:
        return str(sample["doc_id"])
    if cluster not in sample["doc"]:
        fields = ", ".join(sorted(sample["doc"]))
        raise DataError(f"{task}: its documents have no field {cluster!r} to cluster by; they have {fields}")
    return str(sample["doc"][cluster])


def _change(change: MetricChange, values: Sequence[tuple[Any, Any]], groups: Sequence[str]) -> MetricChange:
    """With interval and test, unless the metric is no number for each sample, as a perplexity is none."""
    if all(value in (0, 1) for pair in values for value in pair):
        before, after = ([_outcome(pair[side]) for pair in values] for side in (0, 1))
        return replace(change, difference=paired_difference(before, after, groups), p=paired_p(before, after, groups))
    if len(set(groups)) < 2 or not all(isinstance(value, int | float) for pair in values for value in pair):
        return change
    difference, p = mean_difference([after - before for before, after in values], groups)
    return replace(change, difference=difference, p=p)


def _outcome(value: Any) -> Outcome:
    return "hit" if value else "miss"
