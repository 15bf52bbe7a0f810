"""The audit of one model and one behaviour: prepare, label, harvest, audit. It publishes nothing."""

from prefect import flow, task

from mascing.flows.stage_tasks import ONCE, stage_task
from mascing.models.checkpoints import pinned
from mascing.schemas.config import RunConfig
from mascing.schemas.finished import Audited
from mascing.storage.object_storage import Storage
from mascing.tasks.harvest import harvest
from mascing.tasks.labelling import label
from mascing.tasks.prepare import prepare
from mascing.tasks.running.actors import Pool
from mascing.tasks.suppress import audit as audit_stage
from mascing.tasks.suppress import write_audit
from mascing.tasks.testbed import testbed
from mascing.testbeds.planted.demo_config import demo_config


@flow(name="audit", persist_result=False)
def audit(config: RunConfig, storage_url: str) -> str:
    """Measure how the rate of the audited set falls as experts are suppressed; returns the name of its folder."""
    with Pool(config.compute) as pool:
        config = config.model_copy(update={"model": pinned(config.model)})
        prepared = stage_task(prepare)(storage_url, config).manifest
        labelled = stage_task(label)(storage_url, config, prepared, pool=pool).manifest
        harvested = stage_task(harvest)(storage_url, config, labelled, pool=pool).manifest
        audited = stage_task(audit_stage)(storage_url, config, labelled, harvested, pool=pool).manifest
    return str(_conclude(storage_url, audited))


@flow(name="audit-testbed", persist_result=False)
def audit_testbed(behaviour: str, level: int, seed: int, storage_url: str) -> str:
    """Audit the planted-circuit testbed, and train it first if it does not exist yet."""
    built = stage_task(testbed)(storage_url, level, seed)
    folder = Storage.open(storage_url).locate(built.manifest.prefix)
    return str(audit(demo_config(behaviour, seed, folder, level), storage_url))


@task(name="audit-page", **ONCE)
def _conclude(storage_url: str, audited: Audited) -> str:
    return write_audit(Storage.open(storage_url), audited).name
