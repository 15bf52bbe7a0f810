"""The line for one model and one behaviour: from prepare to publish, and the report on it.

Order, retries and artifacts stand here; what a stage does stands in `tasks`. Between stages travel the prefixes of
their manifests, so whoever reaches the storage URL can take a run up again.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from mascing.errors import ConflictError, StorageError
from mascing.schemas.config import RunConfig
from mascing.storage.manifests import read_manifest
from mascing.storage.object_storage import Storage
from mascing.tasks.conclude import Step, report, results_table
from mascing.tasks.evaluate import evaluate
from mascing.tasks.gate import gate
from mascing.tasks.harvest import harvest
from mascing.tasks.optimise import optimise
from mascing.tasks.prepare import prepare
from mascing.tasks.publish import publish
from mascing.tasks.robustness import robustness
from mascing.tasks.running.actors import Pool
from mascing.tasks.running.stage import StageRun
from mascing.tasks.selecting import select
from mascing.tasks.train import train


@flow(name="reconfigure", persist_result=False)
def reconfigure(config: RunConfig, storage_url: str, testbed: Step | None = None) -> str:
    """Make, prove and publish masks as ``config`` says; returns where the report is.

    ``testbed`` is the step that made the model, where one did.
    """
    done = {"testbed": testbed} if testbed else {}
    with Pool(config.compute) as pool:

        def step(stage: Callable[..., StageRun], *inputs: str, **pooled: Pool) -> None:
            prefixes = [done[name].prefix for name in inputs]
            done[stage.__name__] = stage_task(stage)(storage_url, config, prefixes, **pooled)

        step(prepare)
        step(harvest, "prepare", pool=pool)
        step(train, "prepare", "harvest", pool=pool)
        step(optimise, "prepare", "harvest", "train", pool=pool)
        step(select, "prepare", "harvest", "optimise", pool=pool)
        step(evaluate, "prepare", "select", pool=pool)
        step(robustness, "prepare", "select", "evaluate", pool=pool)
        step(gate, "prepare", "select", "evaluate", "robustness")
        step(publish, "prepare", "harvest", "select", "gate")
    return str(_report(storage_url, config, done))


def stage_task(stage: Callable[..., StageRun]) -> Any:
    """A stage as a Prefect task: prefixes of manifests in, a Step out; run again where storage failed for a moment."""

    def run(storage_url: str, config: RunConfig, prefixes: list[str], **pooled: Pool) -> Step:
        storage = Storage.open(storage_url)
        inputs = [read_manifest(storage, prefix) for prefix in prefixes]
        made = stage(storage, config, *inputs, **pooled)
        get_run_logger().info("%s: %s", made.manifest.prefix, "already done" if made.reused else "done")
        return Step(made.manifest.prefix, made.seconds)

    return task(name=stage.__name__, **ONCE)(run)


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


@task(name="report", **ONCE)
def _report(storage_url: str, config: RunConfig, done: dict[str, Step]) -> str:
    storage = Storage.open(storage_url)
    page = report(storage, config, done)
    name = config.behaviour.name
    create_markdown_artifact(results_table(storage), key=f"results-{name}", description="test split, 95% intervals")
    create_link_artifact(page if "://" in page else Path(page).as_uri(), key=f"report-{name}", link_text="report")
    return page
