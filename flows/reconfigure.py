"""The line for one model and one behaviour: from prepare to publish, and the report on it.

This module defines order, retries and artifacts; `tasks` defines what a stage does. Stages pass on their manifests, so
any machine that can read the storage URL can resume a run.
"""

import re
from pathlib import Path
from typing import TypeVar

from prefect import flow, task
from prefect.artifacts import create_link_artifact, create_markdown_artifact

from mascing.evidence.sufficiency import lacking
from mascing.flows.stage_tasks import ONCE, stage_task
from mascing.models.checkpoints import pinned
from mascing.runs.finished_run import read_result
from mascing.schemas.config import RunConfig
from mascing.schemas.finished import RunStages, TestbedBuilt
from mascing.schemas.manifest import Manifest
from mascing.storage.object_storage import Storage
from mascing.tasks.conclude import conclude, results_table
from mascing.tasks.evaluate import evaluate
from mascing.tasks.gate import gate
from mascing.tasks.harvest import harvest
from mascing.tasks.labelling import label, refuse_unpublishable
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
    """Make, test and publish masks as ``config`` says; returns the name of the run's folder.

    A run whose labels leave too little to learn from ends after the label stage, with a report that says so. Raises
    ConfigError there if no mask can pass the gates.
    ``testbed`` is the stage that made the model, or None if no stage made it.
    """
    seconds: dict[str, float] = {"testbed": testbed.seconds} if testbed else {}
    made = testbed.manifest if testbed else None

    def timed(finished: Finished[M]) -> M:
        seconds[finished.manifest.stage] = finished.seconds
        return finished.manifest

    with Pool(config.compute) as pool:
        config = config.model_copy(update={"model": pinned(config.model)})
        prepared = timed(stage_task(prepare)(storage_url, config))
        labelled = timed(stage_task(label)(storage_url, config, prepared, pool=pool))
        if lacking(labelled.facts, config):
            stages = RunStages(testbed=made, prepare=prepared, label=labelled)
            return str(_report(storage_url, config, stages, seconds))
        if made is None:  # a testbed is made to be looked at, whatever it can show
            refuse_unpublishable(Storage.open(storage_url), config, prepared, labelled)
        harvested = timed(stage_task(harvest)(storage_url, config, labelled, pool=pool))
        trained = timed(stage_task(train)(storage_url, config, labelled, harvested, pool=pool))
        optimised = timed(stage_task(optimise)(storage_url, config, labelled, harvested, trained, pool=pool))
        selected = timed(stage_task(select)(storage_url, config, labelled, harvested, optimised, pool=pool))
        evaluated = timed(stage_task(evaluate)(storage_url, config, labelled, selected, pool=pool))
        tested = timed(stage_task(robustness)(storage_url, config, prepared, labelled, selected, evaluated, pool=pool))
        gated = timed(stage_task(gate)(storage_url, config, prepared, selected, evaluated, tested))
        published = timed(stage_task(publish)(storage_url, config, prepared, harvested, selected, gated))
    stages = RunStages(
        testbed=made,
        prepare=prepared,
        label=labelled,
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
    folder = conclude(storage, config, stages, seconds)
    page, table = storage.locate(folder.page), results_table(read_result(storage, folder))
    # Each run has artifacts of its own: keys with the behaviour alone would mix the runs of several models.
    key = re.sub(r"[^a-z0-9]+", "-", folder.name.lower())
    create_markdown_artifact(table, key=f"results-{key}", description="test split, 95% intervals")
    create_link_artifact(page if "://" in page else Path(page).as_uri(), key=f"report-{key}", link_text="report")
    return folder.name
