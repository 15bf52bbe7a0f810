"""A served deployment with a short interval promotes a mask, holds back one that is worse, and a command rolls back."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
from prefect import get_client
from prefect.artifacts import Artifact
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentUpdate
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType

from mascing.cli import main
from mascing.runs.registry import channels
from mascing.schemas.cards.scheduled_check import ScheduledCheck
from mascing.schemas.config import RunConfig
from mascing.storage.object_storage import Storage
from mascing.tasks.watching.records import checks
from tests.flows.schedule import served_here
from tests.flows.schedule.scheduled_runs import SCHEDULE, STRONG, config_of, made_weak

_PATIENCE_SECONDS = 400
# How often the process that serves looks for runs, in seconds.
_QUICKLY = {"PREFECT_RUNNER_POLL_FREQUENCY": "2"}
_SERVED = DeploymentFilter(name=DeploymentFilterName(any_=["served"]))
_AT_WORK = FlowRunFilter(
    state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.PENDING, StateType.RUNNING]))
)


@pytest.mark.usefixtures("prefect_here")
def test_a_served_schedule_promotes_holds_and_is_rolled_back(
    testbed_folder: Path, strong_line: Path, tmp_path: Path, prefect_url: str
) -> None:
    storage = Storage.open(str(tmp_path / "storage"))
    shutil.copytree(strong_line, tmp_path / "storage", dirs_exist_ok=True)
    strong, weak = config_of(testbed_folder, tmp_path, STRONG), made_weak(testbed_folder, tmp_path, storage)
    assert main(["registry", "promote", "jailbreak-defence@candidate", "production", "--storage", storage.url]) == 0

    def told(outcome: str) -> ScheduledCheck | None:
        """The record of a run that ended so; others may find nothing to do meanwhile."""
        every = checks(storage, testbed_folder.name, "jailbreak-defence")
        return next((check for check in every if check.outcome == outcome), None)

    with served(tmp_path, parameters(strong, storage), prefect_url), get_client(sync_client=True) as client:
        promoted = once(client, lambda: told("promoted"))
        assert promoted.candidate is not None
        assert production(storage) == promoted.candidate.mask

        deployment = client.read_deployment_by_name("scheduled/served")
        client.update_deployment(deployment.id, DeploymentUpdate(parameters=parameters(weak, storage)))
        client.resume_deployment(deployment.id)
        held = once(client, lambda: told("held"))
        assert production(storage) == promoted.candidate.mask

    assert main(["registry", "rollback", "jailbreak-defence@production", "--storage", storage.url]) == 0
    assert held.candidate is not None
    assert production(storage) == held.candidate.mask
    key = f"jailbreak-defence-{held.checkpoint}"
    for kind, said in (("schedule", "target beside the live mask"), ("schedule-report", "report/index.html")):
        assert said in artifact(f"{kind}-{key}")
    assert artifact(f"schedule-rate-{key}").startswith("data:image/svg+xml;base64,")


def parameters(config: RunConfig, storage: Storage) -> dict[str, Any]:
    return {
        "config": config.model_dump(mode="json"),
        "storage_url": storage.url,
        "schedule": SCHEDULE.model_dump(mode="json"),
    }


def production(storage: Storage) -> str:
    [channel] = [each for each in channels(storage) if each.channel == "production"]
    return channel.mask


@contextmanager
def served(folder: Path, parameters: dict[str, Any], url: str) -> Iterator[None]:
    """Serve the flow in another process while the block runs."""
    (folder / "parameters.json").write_text(json.dumps(parameters))
    with open(folder / "served.txt", "wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", served_here.__name__, folder / "parameters.json"],
            env={
                **os.environ,
                **_QUICKLY,
                "PREFECT_API_URL": url,
                "PREFECT_HOME": str(folder),
                "PYTHONPATH": os.getcwd(),
            },
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def once(client: SyncPrefectClient, look: Callable[[], ScheduledCheck | None]) -> ScheduledCheck:
    """Let the schedule start a run and wait for its record; it is paused as soon as the run is under way."""
    deadline = monotonic() + _PATIENCE_SECONDS
    paused = False
    while (found := look()) is None:
        assert monotonic() < deadline
        runs = client.read_flow_runs(deployment_filter=_SERVED, flow_run_filter=_AT_WORK)
        if runs and runs[0].deployment_id is not None and not paused:
            client.pause_deployment(runs[0].deployment_id)
            paused = True
        sleep(0.5)
    while client.read_flow_runs(deployment_filter=_SERVED, flow_run_filter=_AT_WORK):
        assert monotonic() < deadline
        sleep(0.5)
    return found


def artifact(key: str) -> str:
    stored: Any = Artifact.get(key)
    assert stored is not None
    return str(stored.data)
