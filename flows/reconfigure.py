"""The line for one model and one behaviour: from prepare to publish, and the report on it.

This module defines retries and artifacts, `order` the order, and `tasks` what a stage does.
"""

from collections.abc import Callable

from prefect import flow, get_run_logger, task

from mascing.flows.order import Done, Start, whole_line
from mascing.flows.pages.artifacts import show_run
from mascing.flows.pages.run_page import behaviour_on_model, tag_run
from mascing.flows.stage_tasks import LINE, once, stage_task
from mascing.models.checkpoints import model_name, with_pinned_model
from mascing.progress import forwarded
from mascing.schemas.config import RunConfig
from mascing.schemas.finished import TestbedBuilt
from mascing.storage.object_storage import Storage
from mascing.tasks.conclude import conclude
from mascing.tasks.running.stage import Finished
from mascing.tasks.workers.pool import Pool


@flow(name="reconfigure", flow_run_name=behaviour_on_model, **LINE)
def reconfigure(config: RunConfig, storage_url: str, testbed: Finished[TestbedBuilt] | None = None) -> str:
    """Make, test and publish masks as ``config`` says; returns the name of the run's folder.

    A run whose labels leave too little to learn from ends after the label stage, with a report that says so. Raises
    ConfigError there if no mask can pass the gates.
    ``testbed`` is the stage that made the model, or None if no stage made it.
    """
    _tag(config)
    config = with_pinned_model(config)
    with Pool(config.compute, config.model, config.engine) as pool:
        return _line(stage_task, pool, config, storage_url, testbed)


def reconfigure_on(pool: Pool, start: Start) -> Callable[[RunConfig, str], str]:
    """The same flow on workers that others go on using; ``start`` makes of a stage what runs it.

    The model of its configuration is pinned.
    """

    @flow(name="reconfigure", flow_run_name=behaviour_on_model, **LINE)
    def on_pool(config: RunConfig, storage_url: str) -> str:
        _tag(config)
        return _line(start, pool, config, storage_url, None)

    return on_pool


def _tag(config: RunConfig) -> None:
    tag_run(config.behaviour.name, model_name(config.model), *config.methods.searched)


def _line(start: Start, pool: Pool, config: RunConfig, storage_url: str, testbed: Finished[TestbedBuilt] | None) -> str:
    done = whole_line(start, pool, config, storage_url, testbed)
    return str(report(storage_url, config, done))


@task(**once("report"))
def report(storage_url: str, config: RunConfig, done: Done) -> str:
    """Write the folder of the run and show its outcome; returns the folder's name."""
    storage = Storage.open(storage_url)
    with forwarded(get_run_logger().info):
        folder = conclude(storage, config, done.stages, done.seconds)
    show_run(storage, folder, done.stages)
    return folder.name
