"""What workers report to Ray, for Prometheus and the dashboard of infra/; Ray puts `ray_` before each name."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import ray.util.metrics

TAGS = ("stage", "run")

_COUNTED = {
    "tokens": ("mascing_tokens", "Tokens that a forward or a generation read, and that it wrote, without padding"),
    "padding": ("mascing_padding_tokens", "Tokens of batches that are padding"),
    "quarantined": ("mascing_quarantined_rows", "Rows that were set aside"),
    "out_of_memory": ("mascing_oom_halvings", "Times that memory ran out and the budget was halved"),
    "retries": ("mascing_retries", "Items that were tried again, since their worker ended"),
}
_SECONDS = [0.01, 0.1, 1.0, 10.0, 60.0, 300.0, 1800.0]


def report_item(tags: Mapping[str, str], seconds: float, idle: float, counts: Mapping[str, int]) -> None:
    """Report an item that a worker has done after waiting for ``idle`` seconds for it."""
    _counter("mascing_units_done", "Items that are done").inc(1, dict(tags))
    _histogram("mascing_unit_seconds", "Seconds that an item took").observe(seconds, dict(tags))
    if idle > 0:
        _counter("mascing_idle_seconds", "Seconds that workers waited for an item").inc(idle, dict(tags))
    for name, number in counts.items():
        report(name, number, tags)


def report(name: str, number: int, tags: Mapping[str, str]) -> None:
    """Report something that was counted, if there is a metric for it."""
    if name in _COUNTED and number > 0:
        _counter(*_COUNTED[name]).inc(number, dict(tags))


@cache
def _counter(name: str, description: str) -> Any:
    return ray.util.metrics.Counter(name, description=description, tag_keys=TAGS)


@cache
def _histogram(name: str, description: str) -> Any:
    return ray.util.metrics.Histogram(name, description=description, boundaries=_SECONDS, tag_keys=TAGS)
