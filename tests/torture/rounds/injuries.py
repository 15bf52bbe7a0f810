"""Ways to injure a run from outside: its processes are killed or paused, nodes come and go, its S3 server restarts."""

import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from time import sleep
from typing import Protocol

import psutil

PAUSE_SECONDS = 3.0


class Surroundings(Protocol):
    """What a run is given from outside, and can lose."""

    def restart_s3(self, paused: bool) -> None:
        """Kill the S3 server and start it on the same data, or only pause it."""

    def replace_node(self) -> None:
        """Remove a node of the Ray cluster without a warning, and add another."""


@dataclass(frozen=True)
class Injury:
    """What is done to a run; ``needs`` is what surroundings it takes."""

    name: str
    do: Callable[[psutil.Process, Surroundings, Random], None]
    needs: str = ""


def _to(part: str, number: signal.Signals, goes_on: bool = False) -> Callable[..., None]:
    """Send a signal to one of the processes whose title or command holds ``part``; later it may go on."""

    def do(run: psutil.Process, _: Surroundings, random: Random) -> None:
        found = [process for process in [run, *run.children(recursive=True)] if _is(process, part, run)]
        if found:  # it may not have started yet
            process = random.choice(found)
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)
                if goes_on:
                    sleep(PAUSE_SECONDS)
                    process.send_signal(signal.SIGCONT)

    return do


def _is(process: psutil.Process, part: str, run: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return process == run if part == "driver" else part in f"{process.name()} {' '.join(process.cmdline())}"
    return False


_PARTS = {
    "driver": "driver",
    "actor": "ray::Worker",
    "raylet": "/raylet/raylet ",
    "GCS": "/gcs/gcs_server ",
    "Prefect server": "mascing.flows.own_server",
}

INJURIES = (
    *(Injury(f"SIGKILL of {name}", _to(part, signal.SIGKILL)) for name, part in _PARTS.items()),
    *(Injury(f"SIGSTOP of {name}", _to(part, signal.SIGSTOP)) for name, part in _PARTS.items() if name != "driver"),
    *(
        Injury(f"pause of {name}", _to(part, signal.SIGSTOP, goes_on=True))
        for name, part in _PARTS.items()
        if name in ("driver", "actor", "raylet")
    ),
    Injury("SIGKILL of S3 server", lambda run, around, random: around.restart_s3(paused=False), "s3"),
    Injury("pause of S3 server", lambda run, around, random: around.restart_s3(paused=True), "s3"),
    Injury("loss of node", lambda run, around, random: around.replace_node(), "cluster"),
)
