"""Torture rounds: a small run is injured at a random point, started again until it ends well, and checked."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from random import Random
from time import monotonic, sleep, time

import psutil
import yaml

from mascing.storage.object_storage import Storage
from mascing.tasks.guarding.sessions import made_by
from tests.small_run import small_config
from tests.torture.rounds.injuries import INJURIES, Injury
from tests.torture.rounds.soundness import faults
from tests.torture.rounds.surroundings import Around, surroundings

STARTS = 5
"""How often a run is started until it ends well."""
PATIENCE = 6
"""How many times as long as the undisturbed run, or as a minute, a start may take before it is called hung."""
GONE_WITHIN_SECONDS = 15.0
_HIDDEN = ("PREFECT_API_URL", "RAY_ADDRESS")


@dataclass
class Round:
    """What happened in a round; it is sound if ``faults`` is empty."""

    number: int
    injury: Injury
    storage: str = ""
    stage: str = ""
    starts: int = 0
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        verdict = "; ".join(self.faults) or "sound"
        return (
            f"round {self.number}: {self.injury.name} at {self.stage or 'no stage'}, {self.storage}, "
            f"{self.starts} starts, {self.seconds:.0f} s: {verdict}"
        )


class Start:
    """One start of the run, whose lines are read as they come."""

    def __init__(self, config: Path, around: Around, log: Path) -> None:
        self.log, self.began = log, time()
        with open(log, "wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mascing", "run", str(config), "--storage", around.storage],
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
        return self.log.read_text(errors="replace").splitlines()

    def wait(self, seconds: float, lines: float = inf) -> bool:
        """Wait for so many lines or the end of the process; whether one of both came in time."""
        deadline = monotonic() + seconds
        while len(self.lines) < lines and self.process.poll() is None:
            if monotonic() > deadline:
                return False
            with suppress(psutil.Error):
                self.seen |= {child.pid: child for child in psutil.Process(self.process.pid).children(recursive=True)}
            sleep(0.2)
        return True

    def left(self) -> list[str]:
        """What is there a while after the end: processes, and folders unless the last line names one for its logs."""
        deadline = monotonic() + GONE_WITHIN_SECONDS
        while monotonic() < deadline:
            processes = [process for process in self.seen.values() if _lives(process)]
            sessions = made_by(self.process.pid, self.began)
            folders = [path for path in sessions if str(path) not in "".join(self.lines[-1:])]
            if not processes and not folders:
                return []
            sleep(0.2)
        return [*(f"left {process}" for process in processes), *(f"left {folder}" for folder in folders)]


def torture(
    folder: Path, testbed: Path | None, rounds: int, seed: int, seconds: float = inf, only: str = ""
) -> list[Round]:
    """Do the rounds, and print each; they are the same for the same seed, but for the moment of the injury."""
    if testbed is None:
        from mascing.testbeds.planted import build

        testbed = folder / "testbed"
        build(0, testbed)
    config = folder / "run.yaml"
    config.write_text(yaml.safe_dump(small_config(testbed, folder).model_dump(mode="json")))
    undisturbed = Around(str(folder / "undisturbed"))
    start = Start(config, undisturbed, folder / "undisturbed.txt")
    began = monotonic()
    start.wait(inf)
    assert start.process.returncode == 0, start.lines
    patience = PATIENCE * max(60.0, monotonic() - began)
    injuries = [injury for injury in INJURIES if only in injury.name]
    deadline, done = monotonic() + seconds, list[Round]()
    for number in range(rounds):
        if monotonic() > deadline:
            break
        place = folder / f"round-{number}"
        place.mkdir()
        drawn = Random(f"{seed}-{number}")
        told = Round(number, drawn.choice(injuries))
        began = monotonic()
        _torture(told, drawn, config, place, moment=drawn.randrange(1, len(start.lines) - 1), patience=patience)
        told.seconds = monotonic() - began
        done.append(told)
        print(told, flush=True)
    return done


def _torture(told: Round, drawn: Random, config: Path, folder: Path, moment: int, patience: float) -> None:
    """One round in ``folder``: the injury comes after the run has said ``moment`` lines."""
    with surroundings(told.injury.needs or drawn.choice(("", "s3")), folder, drawn) as around:
        told.storage = around.storage.partition("://")[0] if "://" in around.storage else "local folder"
        for told.starts in range(1, STARTS + 1):
            start = Start(config, around, folder / f"start-{told.starts}.txt")
            if told.starts == 1:
                start.wait(patience, moment)
                told.stage = (start.lines or [""])[-1].partition(":")[0]
                with suppress(psutil.NoSuchProcess):
                    told.injury.do(psutil.Process(start.process.pid), around, drawn)
            told.faults += _ended(start, patience)
            if start.process.returncode == 0:
                told.faults += faults(Storage.open(around.storage), Storage.open(str(config.parent / "undisturbed")))
                return
    told.faults.append(f"does not end well in {STARTS} starts: {start.lines[-1:]}")


def _ended(start: Start, patience: float) -> list[str]:
    """Wait for the end; what was wrong with it: the run hangs, ends with a traceback or leaves something behind."""
    wrong = []
    if not start.wait(patience):
        wrong.append(f"hangs after {start.lines[-1:]}")
        os.killpg(start.process.pid, signal.SIGKILL)
    start.process.wait()
    if any(line.startswith("Traceback") for line in start.lines):
        wrong.append(f"traceback: {start.lines[-1:]}")
    return wrong + start.left()


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
