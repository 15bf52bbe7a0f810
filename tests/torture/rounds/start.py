"""One start of a program: its lines as they come, and what it leaves behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from math import inf
from pathlib import Path
from time import monotonic, sleep, time

import psutil

from mascing.tasks.guarding.sessions import made_by
from tests.torture.rounds.surroundings import Around

GONE_WITHIN_SECONDS = 15.0
_HIDDEN = ("PREFECT_API_URL", "RAY_ADDRESS")


class Start:
    """A process that runs `mascing` with these arguments in these surroundings."""

    def __init__(self, arguments: Sequence[str], around: Around, log: Path) -> None:
        self.log, self.began, self._around = log, time(), around
        with open(log, "wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mascing", *arguments, "--storage", around.storage],
                env={name: value for name, value in os.environ.items() if name not in _HIDDEN}
                | {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
                | around.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.seen: dict[int, psutil.Process] = {}

    @property
    def lines(self) -> list[str]:
        """What it has said."""
        return self.log.read_text(errors="replace").splitlines()

    @property
    def last(self) -> str:
        """The last thing that it has said."""
        return (self.lines or [""])[-1]

    def wait(self, seconds: float, lines: float = inf) -> bool:
        """Wait for so many lines or the end of the process; whether one of both came in time."""
        deadline = monotonic() + seconds
        while len(self.lines) < lines and self.process.poll() is None:
            if monotonic() > deadline:
                return False
            self.see()
            sleep(0.2)
        return True

    def see(self) -> list[psutil.Process]:
        """Its processes of this moment, the run itself first; on a cluster that it joined, those of the cluster."""
        with suppress(psutil.Error):
            run = psutil.Process(self.process.pid)
            found = [*run.children(recursive=True), *self._around.workers()]
            self.seen |= {child.pid: child for child in found}
            return [run, *found]
        return []

    def ended(self, patience: float) -> list[str]:
        """Wait for the end; what was wrong with it: it hangs, ends with a traceback or leaves something behind."""
        wrong = []
        if not self.wait(patience):
            wrong.append(f"hangs after {self.last}")
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        if any(line.startswith("Traceback") for line in self.lines):
            wrong.append(f"traceback: {self.last}")
        return wrong + self._left()

    def _left(self) -> list[str]:
        """What is there a while after the end: processes, and folders unless the last line names one for its logs."""
        deadline = monotonic() + GONE_WITHIN_SECONDS
        while True:
            processes = [process for process in self.seen.values() if _lives(process)]
            folders = [path for path in made_by(self.process.pid, self.began) if str(path) not in self.last]
            if not processes and not folders:
                return []
            if monotonic() > deadline:
                return [*(f"left {process}" for process in processes), *(f"left {folder}" for folder in folders)]
            sleep(0.2)


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
