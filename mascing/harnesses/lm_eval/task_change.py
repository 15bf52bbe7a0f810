"""The outcome of tasks of lm-evaluation-harness without and with a mask."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from mascing.schemas.result import Rate


@dataclass(frozen=True)
class MetricChange:
    """One metric of one task: what the harness reports without and with the mask, and the paired difference.

    ``difference``, ``p`` and ``holm_p`` (adjusted for all metrics that were tested) are None if the metric is no number
    for each sample.
    """

    task: str
    metric: str
    filter: str
    n: int
    before: float | None
    after: float | None
    difference: Rate | None = None
    p: float | None = None
    holm_p: float | None = None


@dataclass(frozen=True)
class TaskChanges:
    """All metrics of all tasks, which mask was in force, and the two results as the harness gives them."""

    mascing: dict[str, Any]
    changes: tuple[MetricChange, ...]
    before: dict[str, Any]
    after: dict[str, Any]

    def rows(self) -> Iterator[tuple[str, ...]]:
        """One row of a table for each metric: task, metric, n, without, with, difference, interval, p, adjusted p."""
        for change in self.changes:
            name = change.metric if change.filter == "none" else f"{change.metric} ({change.filter})"
            yield (change.task, name, str(change.n), _number(change.before), _number(change.after), *_test(change))

    def as_json(self) -> dict[str, Any]:
        """The table and its origin, without the samples."""
        return {"mascing": self.mascing, "changes": [_json(change) for change in self.changes]}


HEADINGS = ("task", "metric", "n", "without", "with", "difference", "95% interval", "p", "Holm p")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _test(change: MetricChange) -> tuple[str, ...]:
    difference = change.difference
    if difference is None:
        return "–", "–", "–", "–"
    interval = f"{difference.low:+.3f} to {difference.high:+.3f}"
    return f"{difference.value:+.3f}", interval, f"{change.p:.3g}", f"{change.holm_p:.3g}"


def _json(change: MetricChange) -> dict[str, Any]:
    difference = change.difference.model_dump() if change.difference is not None else None
    return {**asdict(change), "difference": difference}
