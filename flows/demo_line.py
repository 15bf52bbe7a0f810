"""The embedded default: train the testbed, then reconfigure it."""

from prefect import flow

from mascing.flows.reconfigure import reconfigure
from mascing.flows.stage_tasks import stage_task
from mascing.storage.object_storage import Storage
from mascing.tasks.testbed import testbed
from mascing.testbeds.planted.demo_config import demo_config


@flow(name="demo", persist_result=False)
def demo(behaviour: str, level: int, seed: int, storage_url: str) -> str:
    """Run the whole line on the planted-circuit testbed; returns the name of the run's folder."""
    built = stage_task(testbed)(storage_url, level, seed)
    folder = Storage.open(storage_url).locate(built.manifest.prefix)
    return str(reconfigure(demo_config(behaviour, seed, folder, level), storage_url, built))
