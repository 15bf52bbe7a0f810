"""A whole run that is killed once in each of several stages, and the units that it makes in all."""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from time import monotonic, sleep
from typing import Literal

import psutil

STAGES = ("harvest", "optimise", "select", "evaluate")
Victim = Literal["driver", "actor"]
_HOOK = Path(__file__).parent / "hook"
_HIDDEN = ("PREFECT_API_URL", "RAY_ADDRESS")
_PATIENCE_SECONDS = 600.0
_MOST_UNITS = 8
"""The kill comes after a drawn number of units, of which this is the greatest."""


@dataclass(frozen=True)
class Kill:
    """A SIGKILL in a stage: how many units of it were begun by then, and how many were begun again later."""

    stage: str
    victim: Victim
    after: int
    twice: int


class KilledRun:
    """A run of a configuration in ``folder``, and the journal of what its processes begin to make.

    It uses the Prefect server of the URL; without one, each start has a server of its own.
    """

    def __init__(self, config: Path, folder: Path, prefect_url: str | None = None) -> None:
        self._config, self._folder = config, folder
        self._server = {} if prefect_url is None else {"PREFECT_API_URL": prefect_url}
        self._journal = folder / "journal"
        self._starts = 0

    @property
    def begun(self) -> list[str]:
        """The units that were begun, by path, in their order."""
        return self._journal.read_text().split() if self._journal.exists() else []

    def killed(self, victim: Victim, stages: Sequence[str], random: Random) -> list[Kill]:
        """Run to the end; in each stage the victim is killed once, after a drawn number of its units.

        A driver that is killed is started again. Raises AssertionError if the run does not end well.
        """
        kills: list[tuple[str, int, int]] = []
        process = self._start()
        for stage in stages:
            before = self._wait_for(process, stage)
            after = random.randint(1, _MOST_UNITS)
            deadline = monotonic() + _PATIENCE_SECONDS
            while len(self.begun) < before + after and process.poll() is None and not self._is_done(stage):
                assert monotonic() < deadline
                sleep(0.01)
            self._kill(process, victim, random)
            kills.append((stage, before, len(self.begun)))
            if victim == "driver":
                process.wait()
                process = self._start()
        assert process.wait(_PATIENCE_SECONDS) == 0, self._log.read_text()
        return [self._counted(stage, victim, before, at) for stage, before, at in kills]

    def _counted(self, stage: str, victim: Victim, before: int, at: int) -> Kill:
        """``before`` and ``at`` are the numbers of units that were begun before the stage and at the kill."""
        begun = self.begun
        ours, later = set(begun[before:at]), Counter(begun[at:])
        return Kill(stage, victim, len(ours), sum(later[path] for path in ours))

    @property
    def _log(self) -> Path:
        return self._folder / f"start-{self._starts}.txt"

    def _start(self) -> "subprocess.Popen[bytes]":
        self._starts += 1
        path = os.pathsep.join([str(_HOOK), *filter(None, [os.environ.get("PYTHONPATH")])])
        with open(self._log, "wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "mascing", "run", str(self._config), "--storage", str(self._folder / "storage")],
                env={name: value for name, value in os.environ.items() if name not in _HIDDEN}
                | {"PYTHONPATH": path, "MASCING_JOURNAL": str(self._journal), "PYTHONUNBUFFERED": "1"}
                | {"OMP_NUM_THREADS": "1"}
                | self._server,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _wait_for(self, process: "subprocess.Popen[bytes]", stage: str) -> int:
        """How many units are begun when the stage starts."""
        deadline = monotonic() + _PATIENCE_SECONDS
        while f"\n{stage}: started" not in self._log.read_text():
            assert process.poll() is None, self._log.read_text()
            assert monotonic() < deadline, self._log.read_text()
            sleep(0.01)
        return len(self.begun)

    def _is_done(self, stage: str) -> bool:
        return f"\n{stage}: done" in self._log.read_text()

    def _kill(self, process: "subprocess.Popen[bytes]", victim: Victim, random: Random) -> None:
        if victim == "driver":
            process.send_signal(signal.SIGKILL)
            return
        children = psutil.Process(process.pid).children(recursive=True)
        random.choice([child for child in children if "ray::Worker" in child.name()]).kill()
