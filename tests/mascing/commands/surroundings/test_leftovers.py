"""Servers whose run is gone are found and ended; those of a living run are not."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import sleep

import psutil
import pytest

from mascing.cli import main
from mascing.commands.surroundings.leftovers import leftovers, mark_run

SERVER = (sys.executable, "-c", "input()", "mascing.flows.own_server")


@contextmanager
def server(environment: dict[str, str], command: tuple[str, ...] = SERVER) -> Iterator[psutil.Process]:
    """A process that looks like the server of a run."""
    with subprocess.Popen(command, env={**os.environ, **environment}, stdin=subprocess.PIPE) as process:
        yield psutil.Process(process.pid)
        process.kill()


def of_a_gone_run() -> dict[str, str]:
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    return {"MASCING_RUN": f"{int(gone.stdout)}:1.0"}


def test_the_server_of_a_gone_run_is_ended(capsys: pytest.CaptureFixture[str]) -> None:
    with server(of_a_gone_run()) as process:
        assert process in leftovers()
        assert main(["doctor", "--clean"]) == 0
        assert f"ended    {process.pid}" in capsys.readouterr().out
        assert process not in leftovers()
        assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_the_server_of_a_living_run_is_left_alone() -> None:
    environment: dict[str, str] = {}
    mark_run(environment)
    with server(environment) as process:
        assert process not in leftovers()


def test_what_is_no_server_is_left_alone() -> None:
    with server(of_a_gone_run(), (sys.executable, "-c", "input()", "of the user")) as process:
        assert process not in leftovers()


def test_a_server_that_prefect_started_belongs_to_the_python_program_above_it() -> None:
    command = (sys.executable, "-c", "input()", "prefect.server.api.server:create_app")
    with server({"PREFECT__SERVER_EPHEMERAL": "1", "MASCING_RUN": ""}, command) as process:
        assert process not in leftovers()


def test_a_killed_run_that_nobody_waits_for_is_gone() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as run:
        killed = psutil.Process(run.pid)
        mark = {"MASCING_RUN": f"{run.pid}:{killed.create_time():.2f}"}
        with server(mark) as process:
            assert process not in leftovers()
            os.kill(run.pid, signal.SIGKILL)
            while killed.status() != psutil.STATUS_ZOMBIE:
                sleep(0.01)
            assert process in leftovers()
