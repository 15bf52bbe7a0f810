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


def check(folder: Path, most: int) -> None:
    """Every unit is there once, and no more than ``most`` were begun."""
    storage = Storage.open(str(folder / "storage"))
    [manifest] = [path.rpartition("/")[0] for path in storage.list("harvest") if path.endswith("manifest.json")]
    finished = read_manifest(storage, manifest, Noted)
    assert [read_shard(storage, finished, shard.name) for shard in finished.shards] == [
        str(number).encode() for number in range(UNITS)
    ]
    assert set(begun(folder)) == set(range(UNITS))
    assert len(begun(folder)) <= most


def test_a_killed_driver_costs_the_units_in_flight(tmp_path: Path) -> None:
    driver = start(tmp_path)
    wait_for(tmp_path, 15)
    os.kill(driver.pid, signal.SIGKILL)
    driver.communicate(timeout=60)
    time.sleep(1)  # its workers may still end their units
    said, complaints = start(tmp_path).communicate(timeout=300)
    assert said.strip() == f"{UNITS} units", complaints
    check(tmp_path, UNITS + WORKERS)


def test_two_drivers_at_once_leave_one_result_and_do_little_twice(tmp_path: Path) -> None:
    drivers = [start(tmp_path), start(tmp_path)]
    said = [driver.communicate(timeout=300)[0].strip() for driver in drivers]
    assert said == [f"{UNITS} units"] * 2
    check(tmp_path, UNITS + WORKERS)


def test_a_driver_that_was_paused_harms_nothing(tmp_path: Path) -> None:
    paused = start(tmp_path)
    wait_for(tmp_path, 10)
    os.kill(paused.pid, signal.SIGSTOP)
    follower = start(tmp_path)
    said, complaints = follower.communicate(timeout=300)
    assert said.strip() == f"{UNITS} units", complaints
    os.kill(paused.pid, signal.SIGCONT)
    said, complaints = paused.communicate(timeout=300)
    assert said.strip() == f"{UNITS} units", complaints
    check(tmp_path, UNITS + 3 * WORKERS)
