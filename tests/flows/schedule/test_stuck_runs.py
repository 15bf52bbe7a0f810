"""Runs and slots that a dead worker left on a real server are found and released, and no others."""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect import flow, get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.events import Event
from prefect.events.schemas.events import Resource
from prefect.states import Pending, Running

import mascing.flows
from mascing.commands import doctor
from mascing.commands.surroundings import services
from mascing.flows.schedule.stuck_runs import (
    FLOWS,
    PENDING_MINUTES,
    StuckRun,
    orphaned_slots,
    release,
    release_own,
    stuck_runs,
)

pytestmark = pytest.mark.usefixtures("prefect_here")


def later() -> datetime:
    """A time at which what just happened was long enough ago."""
    return datetime.now(UTC) + timedelta(minutes=PENDING_MINUTES + 5)


@pytest.fixture
def client(prefect_here: None) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


@pytest.fixture
def deployment(client: SyncPrefectClient) -> UUID:
    """A deployment of one of our flows with a single slot."""

    @flow(name="scheduled")
    def ours() -> None: ...

    flow_id = client.create_flow(ours)
    return client.create_deployment(flow_id, name=f"d-{uuid4().hex[:8]}", concurrency_limit=1)


def started(client: SyncPrefectClient, deployment: UUID, *states: State[Any]) -> FlowRun:
    run = client.create_flow_run_from_deployment(deployment)
    for state in states:
        client.set_flow_run_state(run.id, state)
    return client.read_flow_run(run.id)


def slots(client: SyncPrefectClient, deployment: UUID) -> int:
    limit = client.read_deployment(deployment).global_concurrency_limit
    assert limit is not None
    return client.read_global_concurrency_limit_by_name(limit.name).active_slots


def beat(client: SyncPrefectClient, run: FlowRun) -> None:
    event = Event.model_validate(
        {
            "occurred": datetime.now(UTC),
            "event": "prefect.flow-run.heartbeat",
            "resource": Resource({"prefect.resource.id": f"prefect.flow-run.{run.id}"}),
            "id": uuid4(),
        }
    )
    client.request("POST", "/events", json=[event.model_dump(mode="json")])


def test_a_run_that_no_worker_started_gives_its_slot_back(client: SyncPrefectClient, deployment: UUID) -> None:
    run = started(client, deployment, Pending())
    assert slots(client, deployment) == 1
    assert stuck_runs(client, datetime.now(UTC), deployment) == []
    assert stuck_runs(client, later(), deployment, but=run.id) == []
    [stuck] = stuck_runs(client, later(), deployment)
    assert (stuck.id, stuck.why) == (run.id, f"PENDING for {PENDING_MINUTES + 5} min: no worker started it")
    release(client, [stuck], [])
    assert slots(client, deployment) == 0
    state = client.read_flow_run(run.id).state
    assert state is not None
    assert state.type == StateType.CRASHED


def test_a_run_is_dead_only_once_heartbeats_that_it_had_have_stopped(
    client: SyncPrefectClient, deployment: UUID
) -> None:
    run = started(client, deployment, Pending(), Running())
    assert stuck_runs(client, later(), deployment) == []  # it never had any, so their absence says nothing
    beat(client, run)
    assert stuck_runs(client, datetime.now(UTC), deployment) == []
    stuck = _once(lambda: stuck_runs(client, later(), deployment))
    assert [each.id for each in stuck] == [run.id]
    assert "RUNNING without a heartbeat for" in stuck[0].why


def test_a_slot_that_no_run_holds_is_given_back(client: SyncPrefectClient, deployment: UUID) -> None:
    assert orphaned_slots(client, deployment, pause=0) == []
    limit = client.read_deployment(deployment).global_concurrency_limit
    assert limit is not None
    client.update_global_concurrency_limit(limit.name, GlobalConcurrencyLimitUpdate(active_slots=1))
    [said] = release_own(client, str(deployment), str(uuid4()))
    assert said == f"limit {limit.name}: 1 slots taken, 0 runs at work"
    assert slots(client, deployment) == 0
    started(client, deployment, Pending(), Running())
    assert release_own(client, str(deployment), str(uuid4())) == []
    assert slots(client, deployment) == 1


def test_the_doctor_lists_and_releases_what_is_stuck(client: SyncPrefectClient, deployment: UUID) -> None:
    limit = client.read_deployment(deployment).global_concurrency_limit
    assert limit is not None
    client.update_global_concurrency_limit(limit.name, GlobalConcurrencyLimitUpdate(active_slots=1))
    said = f"limit {limit.name}: 1 slots taken, 0 runs at work"
    assert f"{said}: mascing doctor --clean releases it" in [finding.message for finding in services.stuck()]
    assert said in doctor._released()
    assert slots(client, deployment) == 0


def test_every_flow_of_the_project_is_looked_at_and_no_other() -> None:
    sources = [path.read_text(encoding="utf-8") for path in Path(mascing.flows.__path__[0]).rglob("*.py")]
    decorators = [made for source in sources for made in re.findall(r"^ *@(flow\b.*)", source, re.MULTILINE)]
    names = {match[1] for made in decorators if (match := re.match(r'flow\(name="([^"]+)"', made))}
    assert all(made.startswith('flow(name="') for made in decorators), decorators
    assert sorted(FLOWS) == sorted(names)


def _once(look: Callable[[], list[StuckRun]]) -> list[StuckRun]:
    """What a look finds: the server stores events a moment after it took them."""
    deadline = monotonic() + 30
    while not (found := look()) and monotonic() < deadline:
        sleep(0.2)
    return found
