"""Large-scale trace collection alone: conversations in, traces out, without labels."""

from prefect import flow

from mascing.flows.pages.run_page import tag_run
from mascing.flows.stage_tasks import LINE, stage_task
from mascing.models.checkpoints import model_name, pinned
from mascing.schemas.collection import CollectionConfig
from mascing.schemas.finished import Collected
from mascing.tasks.collecting.collect import collect
from mascing.tasks.collecting.take_in import intake
from mascing.tasks.workers.pool import Pool


@flow(name="harvest", **LINE)
def harvest(config: CollectionConfig, storage_url: str) -> Collected:
    """Record the routing of the conversations as ``config`` says; returns the finished stage."""
    tag_run(config.name, model_name(config.model))
    config = config.model_copy(update={"model": pinned(config.model)})
    taken = stage_task(intake)(storage_url, config).manifest
    with Pool(config.compute, config.model, config.engine) as pool:
        return stage_task(collect)(storage_url, config, taken, pool=pool).manifest
