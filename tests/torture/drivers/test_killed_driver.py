"""A driver that is killed or paused costs the units that its workers were at, and two drivers leave one result."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from mascing.storage.manifests import read_manifest, read_shard
from mascing.storage.object_storage import Storage
from tests.mascing.storage.noted_stage import Noted
from tests.torture.drivers.unit_driver import UNITS, WORKERS


def start(folder: Path) -> "subprocess.Popen[str]":
    command = [
        sys.executable,
        "-m",
        "tests.torture.drivers.unit_driver",
        str(folder / "storage"),
        str(folder / "journal"),
    ]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def begun(folder: Path) -> list[int]:
    """The units that were begun, in their order."""
    path = folder / "journal"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def wait_for(folder: Path, units: int) -> None:
    until = time.monotonic() + 120
    while len(begun(folder)) < units:
        assert time.monotonic() < until
        time.sleep(0.02)


def check(folder: Path) -> None:
    """Every unit is there once."""
    storage = Storage.open(str(folder / "storage"))
    [manifest] = [path.rpartition("/")[0] for path in storage.list("harvest") if path.endswith("manifest.json")]
    finished = read_manifest(storage, manifest, Noted)
    assert [read_shard(storage, finished, shard.name) for shard in finished.shards] == [
        str(number).encode() for number in range(UNITS)
    ]
    assert set(begun(folder)) == set(range(UNITS))


def test_a_paused_driver_and_a_killed_one_cost_the_units_in_flight(tmp_path: Path) -> None:
    """The second takes over from the first, which is paused, and the third from the second, which is killed."""
    paused = start(tmp_path)
    wait_for(tmp_path, 10)
    os.kill(paused.pid, signal.SIGSTOP)
    at_the_pause = len(begun(tmp_path))
    killed = start(tmp_path)
    wait_for(tmp_path, at_the_pause + 15)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate(timeout=60)
    time.sleep(1)  # its workers may still end their units
    at_the_kill = len(begun(tmp_path))
    said, complaints = start(tmp_path).communicate(timeout=300)
    assert said.strip() == f"{UNITS} units", complaints
    assert len(twice_after(tmp_path, at_the_kill)) <= WORKERS
    os.kill(paused.pid, signal.SIGCONT)
    said, complaints = paused.communicate(timeout=300)
    assert said.strip() == f"{UNITS} units", complaints
    check(tmp_path)
    assert len(begun(tmp_path)) <= UNITS + 4 * WORKERS


def twice_after(folder: Path, units: int) -> list[int]:
    """The units that were begun after so many of them and before."""
    return [unit for unit in begun(folder)[units:] if unit in begun(folder)[:units]]


def test_two_drivers_at_once_leave_one_result_and_do_little_twice(tmp_path: Path) -> None:
    drivers = [start(tmp_path), start(tmp_path)]
    said = [driver.communicate(timeout=300)[0].strip() for driver in drivers]
    assert said == [f"{UNITS} units"] * 2
    check(tmp_path)
    assert len(begun(tmp_path)) <= UNITS + WORKERS
