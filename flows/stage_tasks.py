"""Stages as Prefect tasks: a task retries its stage after a storage failure and returns the finished stage."""

from collections.abc import Callable, Mapping
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from mascing.errors import ConflictError, DamagedError, StorageError
from mascing.flows.pages.stage_progress import progress_artifact
from mascing.progress import forwarded
from mascing.schemas.manifest import Manifest
from mascing.storage.object_storage import Storage
from mascing.tasks.running.stage import Finished

M = TypeVar("M", bound=Manifest)
P = ParamSpec("P")


def stage_task(stage: Callable[Concatenate[Storage, P], Finished[M]]) -> Callable[Concatenate[str, P], Finished[M]]:
    """The stage as a Prefect task: it takes a storage URL instead of the storage, and the same other arguments.

    Its progress and its notes are the logs of the task run, and its progress is an artifact too.
    """

    def run(storage_url: str, *arguments: P.args, **options: P.kwargs) -> Finished[M]:
        log, storage = get_run_logger(), Storage.open(storage_url)
        with forwarded(log.info), progress_artifact(stage.__name__):
            finished = stage(storage, *arguments, **options)
        log.info("output: %s", storage.locate(finished.manifest.prefix))
        return finished

    return cast(Callable[Concatenate[str, P], Finished[M]], task(**once(stage.__name__))(run))


def once(name: str) -> Mapping[str, Any]:
    """Options of the task ``name``. Prefect caches nothing: a stage finds its earlier output by its manifest."""
    return {
        "name": name,
        "task_run_name": name,
        "retries": 3,
        "retry_delay_seconds": [1, 5, 20],
        "retry_condition_fn": _storage_failed,
        "cache_policy": NO_CACHE,
        "persist_result": False,
    }


def _storage_failed(task: Any, run: Any, state: Any) -> bool:
    error = state.data
    return isinstance(error, StorageError) and not isinstance(error, ConflictError | DamagedError)


LINE: Mapping[str, Any] = {"persist_result": False, "result_serializer": "json"}
"""Options of every flow. Prefect keeps nothing but the error of a failed flow, which it would pickle by default."""
