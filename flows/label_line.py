"""The line up to the labels: prepare and label. `mascing run` finds both done."""

from prefect import flow

from mascing.flows import order
from mascing.flows.pages.run_page import behaviour_on_model, tag_run
from mascing.flows.stage_tasks import LINE, stage_task
from mascing.models.checkpoints import model_name, with_pinned_model
from mascing.schemas.config import RunConfig
from mascing.schemas.finished import Labelled
from mascing.tasks.workers.pool import Pool


@flow(name="label", flow_run_name=behaviour_on_model, **LINE)
def label_line(config: RunConfig, storage_url: str) -> Labelled:
    """Let the unsteered model reply to the conversations and label them; returns the finished stage."""
    tag_run(config.behaviour.name, model_name(config.model))
    config = with_pinned_model(config)
    with Pool(config.compute, config.model, config.engine) as pool:
        return order.label_line(stage_task, pool, config, storage_url)
