"""Find what a gone run left behind, and end it; a living run's, and other users', are left alone."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from mascing.tasks.guarding.sessions import claimed

MARK = "MASCING_RUN"
"""Names the run in the environment of all that it starts: process id and start of its process."""
_OF_RUNS = ("mascing.flows.own_server", "prefect.server.api.server:create_app", "/ray/")
"""A part of the command line of every server that runs start; the second is of runs that left that to Prefect."""
_OF_RAY = "ray::"
"""How the title of a worker or an agent of Ray begins. It may stand in the place of the environment."""
_SECONDS = 3.0


def this_run() -> str:
    """The name of the run of this process: its number, and its start in seconds of the epoch."""
    return f"{os.getpid()}:{psutil.Process().create_time():.2f}"


def process_of(run: str) -> tuple[int, float]:
    """Number and start of the process of a run."""
    number, _, started = run.partition(":")
    return int(number), float(started)


def leftovers() -> list[psutil.Process]:
    """The servers and workers of this user whose run is gone."""
    return list(_leftovers())


def left_folders() -> list[Path]:
    """The folders of the Ray instances of this user whose run is gone."""
    return [folder for folder, run in claimed() if is_gone(run)]


def end(processes: list[psutil.Process]) -> None:
    """Ask the processes to end, and kill those that do not within seconds."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.terminate()  # psutil has checked that the id was not given to another process meanwhile
    for process in psutil.wait_procs(processes, _SECONDS)[1]:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def is_gone(run: str) -> bool:
    """Whether the run's process has ended; in doubt, for instance after the clock was set, it has not."""
    number, started = process_of(run)
    try:
        process = psutil.Process(number)
        if process.status() == psutil.STATUS_ZOMBIE:  # killed, and its parent has not asked how it ended
            return True
        return abs(process.create_time() - started) >= 1 and "mascing" not in " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return True


def _leftovers() -> Iterator[psutil.Process]:
    folders = left_folders()
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.uids().real != os.getuid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            command = " ".join(process.cmdline())
            if (any(part in command for part in _OF_RUNS) and _run_is_gone(process)) or (
                command.startswith(_OF_RAY) and _writes_to(process, folders)
            ):
                yield process


def _run_is_gone(process: psutil.Process) -> bool:
    environment = process.environ()
    if run := environment.get(MARK):
        return is_gone(run)
    # Without the mark: a server that Prefect started for one run, which is gone if no Python program is its parent.
    return "PREFECT__SERVER_EPHEMERAL" in environment and not _is_python(process.parent())


def _writes_to(process: psutil.Process, folders: list[Path]) -> bool:
    """Whether the process has a file open in one of the folders, as all of a Ray instance have their logs."""
    return bool(folders) and any(
        Path(file.path).is_relative_to(each) for file in process.open_files() for each in folders
    )


def _is_python(process: psutil.Process | None) -> bool:
    try:
        return process is not None and "python" in process.exe()
    except psutil.AccessDenied:  # of another user, who cannot have started a server of this one
        return False
