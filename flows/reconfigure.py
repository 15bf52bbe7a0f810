"""The line for one model and one behaviour: from prepare to publish, and the report on it.

This module defines retries and artifacts, `order` the order, and `tasks` what a stage does.
"""

import re
from pathlib import Path

from prefect import flow, task
from prefect.artifacts import create_link_artifact, create_markdown_artifact

from mascing.flows.order import Done, whole_line
from mascing.flows.stage_tasks import ONCE, stage_task
from mascing.models.checkpoints import pinned
from mascing.runs.finished_run import read_result
from mascing.schemas.config import RunConfig
from mascing.schemas.finished import TestbedBuilt
from mascing.storage.object_storage import Storage
from mascing.tasks.conclude import conclude, results_table
from mascing.tasks.running.actors import Pool
from mascing.tasks.running.stage import Finished


@flow(name="reconfigure", persist_result=False)
def reconfigure(config: RunConfig, storage_url: str, testbed: Finished[TestbedBuilt] | None = None) -> str:
    """Make, test and publish masks as ``config`` says; returns the name of the run's folder.

    A run whose labels leave too little to learn from ends after the label stage, with a report that says so.
    ``testbed`` is the stage that made the model, or None if no stage made it.
    """
    config = config.model_copy(update={"model": pinned(config.model)})
    with Pool(config.compute, config.model) as pool:
        done = whole_line(stage_task, pool, config, storage_url, testbed)
    return str(_report(storage_url, config, done))


@task(name="report", **ONCE)
def _report(storage_url: str, config: RunConfig, done: Done) -> str:
    storage = Storage.open(storage_url)
    folder = conclude(storage, config, done.stages, done.seconds)
    page, table = storage.locate(folder.page), results_table(read_result(storage, folder))
    # Each run has artifacts of its own: keys with the behaviour alone would mix the runs of several models.
    key = re.sub(r"[^a-z0-9]+", "-", folder.name.lower())
    create_markdown_artifact(table, key=f"results-{key}", description="test split, 95% intervals")
    create_link_artifact(page if "://" in page else Path(page).as_uri(), key=f"report-{key}", link_text="report")
    return folder.name
