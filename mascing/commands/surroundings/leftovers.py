"""Find servers that a killed run left behind, and end them; a living run's, and other users', are left alone."""

import os
from collections.abc import Iterator, MutableMapping
from contextlib import suppress

import psutil

_MARK = "MASCING_RUN"
"""Names the run in the environment of all that it starts: process id and start of its process."""
_OF_RUNS = ("mascing.flows.own_server", "prefect.server.api.server:create_app", "/ray/")
"""A part of the command line of every server that runs start; the second is of runs that left that to Prefect."""
_SECONDS = 3.0


def mark_run(environment: MutableMapping[str, str]) -> None:
    """Mark all that this process will start as of this run."""
    environment[_MARK] = f"{os.getpid()}:{psutil.Process().create_time():.2f}"


def leftovers() -> list[psutil.Process]:
    """The servers of this user whose run is gone."""
    return list(_leftovers())


def end(processes: list[psutil.Process]) -> None:
    """Ask the processes to end, and kill those that do not within seconds."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.terminate()  # psutil has checked that the id was not given to another process meanwhile
    for process in psutil.wait_procs(processes, _SECONDS)[1]:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def _leftovers() -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.uids().real != os.getuid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            command = " ".join(process.cmdline())
            if any(part in command for part in _OF_RUNS) and _run_is_gone(process):
                yield process


def _run_is_gone(process: psutil.Process) -> bool:
    environment = process.environ()
    if mark := environment.get(_MARK):
        number, _, started = mark.partition(":")
        return not _lives(int(number), float(started))
    # Without the mark: a server that Prefect started for one run, which is gone if no Python program is its parent.
    return "PREFECT__SERVER_EPHEMERAL" in environment and not _is_python(process.parent())


def _lives(number: int, started: float) -> bool:
    """Whether the run's process still runs; in doubt, for instance after the clock was set, it does."""
    try:
        run = psutil.Process(number)
        if run.status() == psutil.STATUS_ZOMBIE:  # killed, and its parent has not asked how it ended
            return False
        return abs(run.create_time() - started) < 1 or "mascing" in " ".join(run.cmdline())
    except psutil.NoSuchProcess:
        return False


def _is_python(process: psutil.Process | None) -> bool:
    try:
        return process is not None and "python" in process.exe()
    except psutil.AccessDenied:  # of another user, who cannot have started a server of this one
        return False
