"""Ways to injure a run from outside: processes are killed or paused, nodes come and go, a server restarts, a bit flips.

An injury is tried again and again until it finds what it injures, which may not have started yet.
"""

import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from time import sleep
from typing import Literal

import psutil

from tests.torture.rounds.surroundings import PAUSE_SECONDS, Around

Do = Callable[[Sequence[psutil.Process], Around, Random], bool]
"""Injure a run, whose processes are given, itself first; whether there was something to injure."""


@dataclass(frozen=True)
class Injury:
    """What is done to a run, and what surroundings it takes.

    ``servers`` are those of the run itself or shared ones; ``flips`` says that a stored object is damaged afterwards.
    """

    name: str
    do: Do
    storage: Literal["any", "s3"] = "any"
    servers: Literal["any", "own", "shared"] = "any"
    flips: bool = False


def _to(part: str, number: signal.Signals, goes_on: bool = False) -> Do:
    """Send a signal to one of the processes whose title or command holds ``part``; later it may go on."""

    def do(processes: Sequence[psutil.Process], _: Around, random: Random) -> bool:
        found = [process for process in processes if _is(process, part, processes[0])]
        if not found:
            return False
        with suppress(psutil.NoSuchProcess):
            process = random.choice(found)
            process.send_signal(number)
            if goes_on:
                sleep(PAUSE_SECONDS)
                process.send_signal(signal.SIGCONT)
        return True

    return do


def _is(process: psutil.Process, part: str, run: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return process == run if part == "driver" else part in f"{process.name()} {' '.join(process.cmdline())}"
    return False


def _around(change: Callable[[Around], None]) -> Do:
    def do(_: Sequence[psutil.Process], around: Around, random: Random) -> bool:
        change(around)
        return True

    return do


_PARTS = {
    "driver": "driver",
    "actor": "ray::Worker",
    "raylet": "/raylet/raylet ",
    "GCS": "/gcs/gcs_server ",
    "Prefect server": "mascing.flows.own_server",
}
_OWN = ("raylet", "GCS", "Prefect server")


def _signal(verb: str, number: signal.Signals, name: str) -> Injury:
    do = _to(_PARTS[name], number, goes_on=verb == "pause")
    return Injury(f"{verb} of {name}", do, servers="own" if name in _OWN else "any")


INJURIES = (
    *(_signal("SIGKILL", signal.SIGKILL, name) for name in _PARTS),
    *(_signal("SIGSTOP", signal.SIGSTOP, name) for name in _PARTS if name != "driver"),
    *(_signal("pause", signal.SIGSTOP, name) for name in ("driver", "actor", "raylet")),
    Injury("SIGKILL of S3 server", _around(lambda around: around.restart_s3(paused=False)), "s3"),
    Injury("pause of S3 server", _around(lambda around: around.restart_s3(paused=True)), "s3"),
    Injury("loss of node", _around(Around.replace_node), servers="shared"),
    Injury("addition of node", _around(Around.add_node), servers="shared"),
    Injury("flipped bit", _to("driver", signal.SIGKILL), flips=True),
    Injury("storage faults alone", _around(lambda around: None), "s3"),
)
