"""Stages as Prefect tasks: a task retries its stage after a storage failure and returns the finished stage."""

from collections.abc import Callable, Mapping
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from mascing.errors import ConflictError, StorageError
from mascing.schemas.manifest import Manifest
from mascing.storage.object_storage import Storage
from mascing.tasks.running.stage import Finished

M = TypeVar("M", bound=Manifest)
P = ParamSpec("P")


def stage_task(stage: Callable[Concatenate[Storage, P], Finished[M]]) -> Callable[Concatenate[str, P], Finished[M]]:
    """The stage as a Prefect task: it takes a storage URL instead of the storage, and the same other arguments."""

    def run(storage_url: str, *arguments: P.args, **options: P.kwargs) -> Finished[M]:
        finished = stage(Storage.open(storage_url), *arguments, **options)
        get_run_logger().info("%s: %s", finished.manifest.prefix, "already done" if finished.reused else "done")
        return finished

    return cast(Callable[Concatenate[str, P], Finished[M]], task(name=stage.__name__, **ONCE)(run))


def _storage_failed(task: Any, run: Any, state: Any) -> bool:
    error = state.data
    return isinstance(error, StorageError) and not isinstance(error, ConflictError)


ONCE: Mapping[str, Any] = {
    "retries": 3,
    "retry_delay_seconds": [1, 5, 20],
    "retry_condition_fn": _storage_failed,
    "cache_policy": NO_CACHE,
    "persist_result": False,
}
"""Options of every task. Prefect caches nothing, because a stage finds its earlier output by its manifest."""
