"""The line up to the labels: prepare and label. `mascing run` finds both done."""

from prefect import flow

from mascing.flows.stage_tasks import stage_task
from mascing.models.checkpoints import pinned
from mascing.schemas.config import RunConfig
from mascing.schemas.finished import Labelled
from mascing.tasks.labelling import label
from mascing.tasks.prepare import prepare
from mascing.tasks.running.actors import Pool


@flow(name="label", persist_result=False)
def label_line(config: RunConfig, storage_url: str) -> Labelled:
    """Let the unsteered model reply to the conversations and label them; returns the finished stage."""
    with Pool(config.compute) as pool:
        config = config.model_copy(update={"model": pinned(config.model)})
        prepared = stage_task(prepare)(storage_url, config).manifest
        return stage_task(label)(storage_url, config, prepared, pool=pool).manifest
