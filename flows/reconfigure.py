"""The line for one model and one behaviour: from prepare to publish, and the report on it.

Order, retries and artifacts stand here; what a stage does stands in `tasks`. Stages hand on their manifests, so whoever
reaches the storage URL can take a run up again.
"""

from pathlib import Path
from typing import TypeVar

from prefect import flow, task
from prefect.artifacts import create_link_artifact, create_markdown_artifact

from mascing.flows.stage_tasks import ONCE, stage_task
from mascing.models.checkpoints import pinned
from mascing.schemas.config import RunConfig
from mascing.schemas.finished import RunStages, TestbedBuilt
from mascing.schemas.manifest import Manifest
from mascing.storage.object_storage import Storage
from mascing.tasks.conclude import conclude, results_table
from mascing.tasks.evaluate import evaluate
from mascing.tasks.gate import gate
from mascing.tasks.harvest import harvest
from mascing.tasks.optimise import optimise
from mascing.tasks.prepare import prepare
from mascing.tasks.publish import publish
from mascing.tasks.robustness import robustness
from mascing.tasks.running.actors import Pool
from mascing.tasks.running.stage import Finished
from mascing.tasks.selecting import select
from mascing.tasks.train import train

M = TypeVar("M", bound=Manifest)


@flow(name="reconfigure", persist_result=False)
def reconfigure(config: RunConfig, storage_url: str, testbed: Finished[TestbedBuilt] | None = None) -> str:
    """Make, prove and publish masks as ``config`` says; returns where the report is.

    ``testbed`` is the stage that made the model, where one did.
    """
    seconds: dict[str, float] = {"testbed": testbed.seconds} if testbed else {}

    def noted(finished: Finished[M]) -> M:
        seconds[finished.manifest.stage] = finished.seconds
        return finished.manifest

    with Pool(config.compute) as pool:
        prepared = noted(stage_task(prepare)(storage_url, config))
        config = config.model_copy(update={"model": pinned(config.model)})
        harvested = noted(stage_task(harvest)(storage_url, config, prepared, pool=pool))
        trained = noted(stage_task(train)(storage_url, config, prepared, harvested, pool=pool))
        optimised = noted(stage_task(optimise)(storage_url, config, prepared, harvested, trained, pool=pool))
        selected = noted(stage_task(select)(storage_url, config, prepared, harvested, optimised, pool=pool))
        evaluated = noted(stage_task(evaluate)(storage_url, config, prepared, selected, pool=pool))
        tested = noted(stage_task(robustness)(storage_url, config, prepared, selected, evaluated, pool=pool))
        gated = noted(stage_task(gate)(storage_url, config, prepared, selected, evaluated, tested))
        published = noted(stage_task(publish)(storage_url, config, prepared, harvested, selected, gated))
    stages = RunStages(
        testbed=testbed.manifest if testbed else None,
        prepare=prepared,
        harvest=harvested,
        train=trained,
        optimise=optimised,
        select=selected,
        evaluate=evaluated,
        robustness=tested,
        gate=gated,
        publish=published,
    )
    return str(_report(storage_url, config, stages, seconds))


@task(name="report", **ONCE)
def _report(storage_url: str, config: RunConfig, stages: RunStages, seconds: dict[str, float]) -> str:
    storage = Storage.open(storage_url)
    page = conclude(storage, config, stages, seconds)
    name = config.behaviour.name
    create_markdown_artifact(results_table(storage), key=f"results-{name}", description="test split, 95% intervals")
    create_link_artifact(page if "://" in page else Path(page).as_uri(), key=f"report-{name}", link_text="report")
    return page
