"""The line on a schedule: do again what changed, look at the mask that is served, and promote through the gates alone.

Every input is looked at anew: the model's revision is resolved or its folder's content hashed, the conversations are
read, the judges identified. Stages are found by their fingerprints, so a run with nothing new does none of their work.
"""

from prefect import flow, get_client, get_run_logger, task
from prefect.runtime import deployment, flow_run

from mascing.errors import MascingError
from mascing.flows import order
from mascing.flows.pages.run_page import behaviour_on_model, tag_run
from mascing.flows.pages.scheduled_page import show_check
from mascing.flows.reconfigure import report
from mascing.flows.schedule.exclusive import one_at_a_time
from mascing.flows.schedule.messages import of_check, of_failure
from mascing.flows.schedule.notices import NoticeError, refuse_untellable, tell_people
from mascing.flows.schedule.stuck_runs import release_own
from mascing.flows.stage_tasks import LINE, once, stage_task
from mascing.models.checkpoint_names import flat_name
from mascing.models.checkpoints import model_name, with_pinned_model
from mascing.progress import forwarded
from mascing.schemas.cards.scheduled_check import JudgesToday, ScheduledCheck
from mascing.schemas.config import RunConfig
from mascing.schemas.settings.schedule_settings import ScheduleConfig
from mascing.storage.object_storage import Storage
from mascing.tasks.watching import records
from mascing.tasks.watching.rejudging import hear_judges
from mascing.tasks.watching.settle import Live, look_at_live, settle
from mascing.tasks.watching.standing import Watch
from mascing.tasks.workers.pool import Pool


class RegressionError(MascingError):
    """The mask that is served does worse than it did, and nothing took its place."""


_REPEATED = ("judge failed", "candidate held", "routing drifted")
"""What is told once and not every night: only until something changes."""

_DEFAULT = ScheduleConfig()


@flow(name="scheduled", flow_run_name=behaviour_on_model, **LINE)
def scheduled(config: RunConfig, storage_url: str, schedule: ScheduleConfig = _DEFAULT) -> str:
    """Run the line, check the served mask, and promote what passes; returns what was done.

    The flow fails, after its record is written and people are told, if the served mask regressed and stays, or if the
    line failed. Of two runs for one model and behaviour at once, the second ends at once.
    """
    tag_run("scheduled", config.behaviour.name, model_name(config.model))
    log = get_run_logger()
    refuse_untellable(schedule.notify)
    with get_client(sync_client=True) as client:
        for freed in release_own(client, deployment.id, flow_run.id):
            log.warning("released: %s", freed)
    storage = Storage.open(storage_url)
    with one_at_a_time(storage, f"schedule-{config.behaviour.name}-{flat_name(model_name(config.model))}") as holder:
        if holder is not None:
            log.info("%s is at work on the same schedule: nothing to do", holder)
            return "another run is at work"
        try:
            check, error = _checked(config, storage_url, schedule)
        except Exception as failed:
            _tell(schedule, of_failure(config, flow_run.name, failed))
            raise
        message = of_check(storage, check)
        if message is not None and not (message["event"] in _REPEATED and records.was_told(storage, check)):
            _tell(schedule, message)
    if check.alarming:
        raise RegressionError(f"{check.behaviour}@{check.channel} regressed: look at the table of this run") from error
    if error is not None:
        raise error
    return check.outcome


def _checked(
    config: RunConfig, storage_url: str, schedule: ScheduleConfig
) -> tuple[ScheduledCheck, MascingError | None]:
    """The record of the run, and why the line made no candidate if it failed: what is served is looked at anyway."""
    config, error, run = with_pinned_model(config), None, None
    with Pool(config.compute, config.model, config.engine) as pool:
        prepared, labelled = order.prepared_and_labelled(stage_task, pool, config, storage_url)
        watch = Watch(Storage.open(storage_url), config, schedule, prepared, labelled, pool)
        judges, live = _hear(watch), _look(watch)
        try:
            run = report(storage_url, config, order.whole_line(stage_task, pool, config, storage_url))
        except MascingError as failed:
            error = failed
        check = _settle(watch, live, judges, run, None if error is None else str(error))
    return check, error


@task(**once("hear-judges"))
def _hear(watch: Watch) -> JudgesToday:
    log = get_run_logger()
    with forwarded(log.info):
        judges = hear_judges(watch)
    if judges.cost is not None:
        log.info("the judges were asked anew for $%.4f", judges.cost)
    return judges


@task(**once("look-at-live"))
def _look(watch: Watch) -> Live:
    with forwarded(get_run_logger().info):
        return look_at_live(watch)


# Not tried again: a channel that moved before the record was written would look as if somebody else had moved it.
@task(**{**once("settle"), "retries": 0})
def _settle(watch: Watch, live: Live, judges: JudgesToday, run: str | None, error: str | None) -> ScheduledCheck:
    with forwarded(get_run_logger().info):
        check = settle(watch, live, judges, f"Prefect run {flow_run.name}", run, error)
    show_check(watch.storage, check, records.checks(watch.storage, check.model, check.behaviour))
    return check


def _tell(schedule: ScheduleConfig, message: dict[str, object]) -> None:
    """Tell people; a message that does not arrive is in the log and fails nothing."""
    log = get_run_logger()
    log.warning("%s", message["text"])
    try:
        tell_people(schedule.notify, message)
    except NoticeError as error:
        log.error("%s", error)
