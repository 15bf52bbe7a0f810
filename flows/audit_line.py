"""The audit of one model and one behaviour: prepare, label, harvest, audit. It publishes nothing."""

from prefect import flow, task

from mascing.flows import order
from mascing.flows.stage_tasks import ONCE, stage_task
from mascing.models.checkpoints import pinned
from mascing.schemas.config import RunConfig
from mascing.schemas.finished import Audited
from mascing.storage.object_storage import Storage
from mascing.tasks.running.actors import Pool
from mascing.tasks.suppress import write_audit


@flow(name="audit", persist_result=False)
def audit(config: RunConfig, storage_url: str) -> str:
    """Measure how the rate of the audited set falls as experts are suppressed; returns the name of its folder."""
    config = config.model_copy(update={"model": pinned(config.model)})
    with Pool(config.compute, config.model) as pool:
        audited = order.audit_line(stage_task, pool, config, storage_url)
    return str(_conclude(storage_url, audited))


@flow(name="audit-testbed", persist_result=False)
def audit_testbed(behaviour: str, level: int, seed: int, storage_url: str) -> str:
    """Audit the planted-circuit testbed, and train it first if it does not exist yet."""
    config, _ = order.on_testbed(stage_task, behaviour, level, seed, storage_url)
    return str(audit(config, storage_url))


@task(name="audit-page", **ONCE)
def _conclude(storage_url: str, audited: Audited) -> str:
    return write_audit(Storage.open(storage_url), audited).name
