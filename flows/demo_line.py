"""The embedded default: train the testbed, then reconfigure it."""

from prefect import flow, task

from mascing.flows.reconfigure import ONCE, reconfigure
from mascing.storage.object_storage import Storage
from mascing.tasks.conclude import Step
from mascing.tasks.testbed import testbed
from mascing.testbeds.planted.demo_config import demo_config


@flow(name="demo", persist_result=False)
def demo(behaviour: str, seed: int, storage_url: str) -> str:
    """Run the whole line on the planted-circuit testbed; returns where the report is."""
    made = make_testbed(storage_url, seed)
    folder = Storage.open(storage_url).locate(made.prefix)
    return str(reconfigure(demo_config(behaviour, seed, folder), storage_url, made))


@task(name="testbed", **ONCE)
def make_testbed(storage_url: str, seed: int) -> Step:
    """The testbed of a seed, trained where it is not there yet."""
    made = testbed(Storage.open(storage_url), seed)
    return Step(made.manifest.prefix, made.seconds)
