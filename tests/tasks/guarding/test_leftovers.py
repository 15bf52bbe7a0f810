"""What a gone run left is found and ended or removed; what a living run has is not."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from time import sleep

import psutil
import pytest

from mascing.cli import main
from mascing.tasks.guarding.leftovers import MARK, left_folders, leftovers, this_run
from mascing.tasks.guarding.sessions import claim, made_by

SERVER = (sys.executable, "-c", "input()", "mascing.flows.own_server")


@contextmanager
def server(environment: dict[str, str], command: tuple[str, ...] = SERVER) -> Iterator[psutil.Process]:
    """A process that looks like the server of a run."""
    with subprocess.Popen(command, env={**os.environ, **environment}, stdin=subprocess.PIPE) as process:
        yield psutil.Process(process.pid)
        process.kill()


def gone_run() -> str:
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    return f"{int(gone.stdout)}:1.0"


def of_a_gone_run() -> dict[str, str]:
    return {MARK: gone_run()}


@pytest.fixture
def sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder where Ray would make the folders of its instances."""
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    (tmp_path / "ray").mkdir()
    return tmp_path / "ray"


def session(folder: Path, process: int, made: datetime | None = None) -> Path:
    """The folder of a Ray instance, with a log."""
    name = f"session_{made or datetime.now():%Y-%m-%d_%H-%M-%S_%f}_{process}"
    (folder / name / "logs").mkdir(parents=True)
    (folder / name / "logs" / "raylet.out").write_text("started")
    return folder / name


def test_the_server_of_a_gone_run_is_ended(capsys: pytest.CaptureFixture[str]) -> None:
    with server(of_a_gone_run()) as process:
        assert process in leftovers()
        assert main(["doctor", "--clean"]) == 0
        assert f"ended    {process.pid}" in capsys.readouterr().out
        assert process not in leftovers()
        assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_the_server_of_a_living_run_is_left_alone() -> None:
    with server({MARK: this_run()}) as process:
        assert process not in leftovers()


def test_what_is_no_server_is_left_alone() -> None:
    with server(of_a_gone_run(), (sys.executable, "-c", "input()", "of the user")) as process:
        assert process not in leftovers()


def test_a_server_that_prefect_started_belongs_to_the_python_program_above_it() -> None:
    command = (sys.executable, "-c", "input()", "prefect.server.api.server:create_app")
    with server({"PREFECT__SERVER_EPHEMERAL": "1", MARK: ""}, command) as process:
        assert process not in leftovers()


def test_a_killed_run_that_nobody_waits_for_is_gone() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as run:
        killed = psutil.Process(run.pid)
        mark = {MARK: f"{run.pid}:{killed.create_time():.2f}"}
        with server(mark) as process:
            assert process not in leftovers()
            os.kill(run.pid, signal.SIGKILL)
            while killed.status() != psutil.STATUS_ZOMBIE:
                sleep(0.01)
            assert process in leftovers()


def test_the_folder_of_a_gone_runs_ray_instance_is_removed_with_who_writes_to_it(
    sessions: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, theirs = session(sessions, 1), session(sessions, 2)
    claim(ours, gone_run())
    (sessions / "session_latest").symlink_to(ours)
    agents = []
    for folder in (ours, theirs):
        command = f"f = open({str(folder / 'logs' / 'agent.log')!r}, 'w'); print(1, flush=True); input()"
        agents.append(
            subprocess.Popen(
                ["ray::Agent", "-c", command], executable=sys.executable, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        )
    with agents[0] as agent, agents[1] as foreign:
        for each in agents:
            assert each.stdout is not None
            each.stdout.readline()
        assert [process.pid for process in leftovers()] == [agent.pid]
        assert main(["doctor", "--clean"]) == 0
        assert f"removed  {ours}" in capsys.readouterr().out
        assert agent.poll() is not None
        assert foreign.poll() is None
        assert list(sessions.iterdir()) == [theirs]
        foreign.kill()


def test_the_folder_of_a_living_run_and_those_that_no_run_has_claimed_are_left_alone(sessions: Path) -> None:
    claim(session(sessions, os.getpid()), this_run())
    session(sessions, 1)
    assert left_folders() == []


def test_a_folder_that_is_older_than_the_process_is_of_another_one_with_its_number(sessions: Path) -> None:
    now = datetime.now()
    session(sessions, 7, now - timedelta(hours=1))
    session(sessions, 8, now)
    new = session(sessions, 7, now)
    assert list(made_by(7, now.timestamp() - 60)) == [new]
