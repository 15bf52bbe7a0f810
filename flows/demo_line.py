"""The embedded default: train the testbed, then reconfigure it."""

from prefect import flow

from mascing.flows.order import on_testbed
from mascing.flows.pages.run_page import tag_run
from mascing.flows.reconfigure import reconfigure
from mascing.flows.stage_tasks import LINE, stage_task


@flow(name="demo", flow_run_name="{behaviour} on the testbed, level {level}", **LINE)
def demo(behaviour: str, level: int, seed: int, storage_url: str) -> str:
    """Run the whole line on the planted-circuit testbed; returns the name of the run's folder."""
    tag_run(behaviour, "testbed")
    config, built = on_testbed(stage_task, behaviour, level, seed, storage_url)
    return str(reconfigure(config, storage_url, built))
