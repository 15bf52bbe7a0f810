"""The audit of one model and one behaviour: prepare, label, harvest, audit. It publishes nothing."""

from prefect import flow, get_run_logger, task

from mascing.flows import order
from mascing.flows.pages.artifacts import show_report
from mascing.flows.pages.run_page import behaviour_on_model, tag_run
from mascing.flows.stage_tasks import LINE, once, stage_task
from mascing.models.checkpoints import model_name, with_pinned_model
from mascing.progress import forwarded
from mascing.schemas.config import RunConfig
from mascing.schemas.finished import Audited
from mascing.storage.object_storage import Storage
from mascing.tasks.suppress import write_audit
from mascing.tasks.workers.pool import Pool


@flow(name="audit", flow_run_name=behaviour_on_model, **LINE)
def audit(config: RunConfig, storage_url: str) -> str:
    """Measure how the rate of the audited set falls as experts are suppressed; returns the name of its folder."""
    tag_run(config.behaviour.name, model_name(config.model))
    config = with_pinned_model(config)
    with Pool(config.compute, config.model, config.engine) as pool:
        audited = order.audit_line(stage_task, pool, config, storage_url)
    return str(_conclude(storage_url, config, audited))


@flow(name="audit-testbed", flow_run_name="{behaviour} on the testbed, level {level}", **LINE)
def audit_testbed(behaviour: str, level: int, seed: int, storage_url: str) -> str:
    """Audit the planted-circuit testbed, and train it first if it does not exist yet."""
    tag_run(behaviour, "testbed")
    config, _ = order.on_testbed(stage_task, behaviour, level, seed, storage_url)
    return str(audit(config, storage_url))


@task(**once("audit-page"))
def _conclude(storage_url: str, config: RunConfig, audited: Audited) -> str:
    storage = Storage.open(storage_url)
    with forwarded(get_run_logger().info):
        folder = write_audit(storage, config, audited)
    show_report(storage, folder)
    return folder.name
