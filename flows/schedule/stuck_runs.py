"""Runs that Prefect believes to be under way and that nobody works on, and slots that no run holds.

A worker that dies between taking a run and starting it leaves it PENDING for ever, and a worker that dies later leaves
it RUNNING. Either holds a slot of its deployment, so that no further run starts (PrefectHQ/prefect#17415, #18933). A
server that restarts forgets who holds a slot (#18324).

A run counts as stuck only if that is certain enough: it is PENDING for PENDING_MINUTES, or RUNNING and its heartbeats,
of which it had some, have stopped for SILENT_BEATS of them. A run that never had a heartbeat is left alone, and so is
what this process runs. A slot counts as orphaned if there are more slots taken than runs, twice in a row.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import sleep
from uuid import UUID

from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.events.filters import EventFilter, EventNameFilter, EventOccurredFilter, EventResourceFilter
from prefect.settings import get_current_settings
from prefect.states import Crashed

PENDING_MINUTES = 30
SILENT_BEATS = 4
_LEAST_BEAT_SECONDS = 180
_LOOKS_APART_SECONDS = 3.0
_AHEAD = timedelta(minutes=5)
"""By how much the server's clock may be ahead of this one."""
_BEAT = "prefect.flow-run.heartbeat"
_HELD = (StateType.PENDING, StateType.RUNNING, StateType.CANCELLING)

FLOWS = ("reconfigure", "scheduled", "campaign", "demo", "label", "harvest", "audit", "audit-testbed")
"""The flows of this project: no other run is looked at."""


@dataclass(frozen=True)
class StuckRun:
    """A run that nobody works on, and how that is known."""

    id: UUID
    name: str
    why: str

    def __str__(self) -> str:
        return f"run {self.name} ({self.id}): {self.why}"


@dataclass(frozen=True)
class OrphanedSlots:
    """A concurrency limit with more slots taken than runs hold."""

    limit: str
    taken: int
    held: int

    def __str__(self) -> str:
        return f"limit {self.limit}: {self.taken} slots taken, {self.held} runs at work"


def stuck_runs(
    client: SyncPrefectClient, now: datetime, deployment: UUID | None = None, but: UUID | None = None
) -> list[StuckRun]:
    """The stuck runs of the project's flows, or of one deployment; ``but`` is the run that asks."""
    return [
        StuckRun(run.id, run.name, why)
        for run in _under_way(client, deployment)
        if run.id != but and (why := _why_stuck(client, run, now))
    ]


def orphaned_slots(
    client: SyncPrefectClient, deployment: UUID | None = None, pause: float = _LOOKS_APART_SECONDS
) -> list[OrphanedSlots]:
    """The limits of the project's deployments, or of one, whose slots nobody holds: in two looks, ``pause`` s apart."""
    first = {each.limit: each for each in _orphaned(client, deployment)}
    if not first:
        return []
    sleep(pause)
    return [each for each in _orphaned(client, deployment) if each == first.get(each.limit)]


def found(client: SyncPrefectClient) -> tuple[list[StuckRun], list[OrphanedSlots]]:
    """All that is stuck of the project's flows."""
    return stuck_runs(client, datetime.now(UTC)), orphaned_slots(client)


def found_on_server() -> tuple[list[StuckRun], list[OrphanedSlots]]:
    """All that is stuck on the server of the settings."""
    with get_client(sync_client=True) as client:
        return found(client)


def released_on_server() -> list[str]:
    """Release all that is stuck on the server of the settings, and say what it was."""
    with get_client(sync_client=True) as client:
        runs, slots = found(client)
        release(client, runs, slots)
    return [str(each) for each in (*runs, *slots)]


def release(client: SyncPrefectClient, runs: Sequence[StuckRun], slots: Sequence[OrphanedSlots]) -> None:
    """Set the runs to Crashed, which gives their slots back, and give orphaned slots back.

    A run that was not dead after all cannot go on: the server refuses its next state, so nothing runs twice.
    """
    for run in runs:
        client.set_flow_run_state(run.id, Crashed(message=f"released by mascing: {run.why}"), force=True)
    for each in slots:
        client.update_global_concurrency_limit(each.limit, GlobalConcurrencyLimitUpdate(active_slots=each.held))


def release_own(client: SyncPrefectClient, deployment: str | None, run: str | None) -> list[str]:
    """Release what is stuck of the deployment of this run, and say what it was; nothing where it has none."""
    if deployment is None:
        return []
    own = UUID(str(deployment))
    runs = stuck_runs(client, datetime.now(UTC), own, UUID(str(run)))
    release(client, runs, [])
    slots = orphaned_slots(client, own)
    release(client, [], slots)
    return [str(each) for each in (*runs, *slots)]


def _under_way(client: SyncPrefectClient, deployment: UUID | None) -> Iterator[FlowRun]:
    states = FlowRunFilterState(type=FlowRunFilterStateType(any_=list(_HELD)))
    yield from client.read_flow_runs(
        flow_filter=FlowFilter(name=FlowFilterName(any_=list(FLOWS))),
        flow_run_filter=FlowRunFilter(state=states),
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment])) if deployment else None,
    )


def _why_stuck(client: SyncPrefectClient, run: FlowRun, now: datetime) -> str:
    """How it is known that nobody works on the run; empty if somebody may."""
    if run.state is None or run.deployment_id is None:  # without a deployment, no worker was to start it
        return ""
    minutes = (now - run.state.timestamp).total_seconds() / 60
    if run.state.type == StateType.PENDING:
        return f"PENDING for {minutes:.0f} min: no worker started it" if minutes >= PENDING_MINUTES else ""
    beat = _last_beat(client, run, now)
    if beat is None:
        return ""
    silent = (now - max(beat, run.state.timestamp)).total_seconds()
    patience = SILENT_BEATS * max(_LEAST_BEAT_SECONDS, get_current_settings().flows.heartbeat_frequency or 0)
    return f"{run.state.type.value} without a heartbeat for {silent / 60:.0f} min" if silent >= patience else ""


def _last_beat(client: SyncPrefectClient, run: FlowRun, now: datetime) -> datetime | None:
    wanted = EventFilter(
        event=EventNameFilter(name=[_BEAT]),
        resource=EventResourceFilter(id=[f"prefect.flow-run.{run.id}"]),
        occurred=EventOccurredFilter.model_validate({"since": now - timedelta(days=7), "until": now + _AHEAD}),
    )
    beats = client.read_events(wanted, limit=1).events
    return max((beat.occurred for beat in beats), default=None)


def _orphaned(client: SyncPrefectClient, deployment: UUID | None) -> Iterator[OrphanedSlots]:
    wanted = DeploymentFilter(id=DeploymentFilterId(any_=[deployment])) if deployment else None
    ours = FlowFilter(name=FlowFilterName(any_=list(FLOWS)))
    for each in client.read_deployments(flow_filter=ours, deployment_filter=wanted):
        limit = each.global_concurrency_limit
        if limit is None:
            continue
        taken = client.read_global_concurrency_limit_by_name(limit.name).active_slots
        held = sum(run.state is not None and run.state.type in _HELD for run in _under_way(client, each.id))
        if taken > held:
            yield OrphanedSlots(limit.name, taken, held)
