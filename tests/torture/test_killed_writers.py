"""Writers killed by a real SIGKILL at the worst moments of a local commit."""

import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from mascing.storage.manifests import StageOutput, read_shard
from mascing.storage.object_storage import Storage
from tests.mascing.storage.noted_stage import Noted, NotedFacts

SHARDS = {f"traces-{n:05d}.parquet": b"%d" % n * 1000 for n in range(3)}


@pytest.mark.parametrize("call", ["fsync", "link", "unlink"])
@pytest.mark.parametrize("nth", [1, 3, 4])
def test_a_killed_writer_leaves_no_half_stage_and_the_next_one_finishes(tmp_path: Path, call: str, nth: int) -> None:
    storage = Storage.open(str(tmp_path))
    writer = multiprocessing.get_context("spawn").Process(target=write_and_die, args=(storage, call, nth))
    writer.start()
    writer.join()
    assert writer.exitcode == -signal.SIGKILL
    for name in storage.list():
        assert storage.read(name) in SHARDS.values() or name.endswith("/manifest.json")
    manifest = write(storage)
    assert {name: read_shard(storage, manifest, name) for name in SHARDS} == SHARDS
    assert len(storage.list()) == len(SHARDS) + 1


def test_a_run_sweeps_the_temporary_files_of_dead_processes_and_no_others(tmp_path: Path) -> None:
    storage = Storage.open(str(tmp_path))
    writer = multiprocessing.get_context("spawn").Process(target=write_and_die, args=(storage, "link", 1))
    writer.start()
    writer.join()
    [dead] = tmp_path.rglob(".tmp-*")
    assert f"-{writer.pid}-" in dead.name
    living = dead.with_name(dead.name.replace(f"-{writer.pid}-", f"-{os.getpid()}-"))
    elsewhere = dead.with_name(f".tmp-{'0' * 16}{dead.name[21:]}")
    for path in (living, elsewhere):
        path.write_bytes(b"half")
    storage.sweep()
    assert sorted(tmp_path.rglob(".tmp-*")) == sorted([living, elsewhere])


def test_a_lock_held_by_a_killed_writer_is_free_again(tmp_path: Path) -> None:
    storage = Storage.open(str(tmp_path))
    storage.swap("channel", b"one", None)
    writer = multiprocessing.get_context("spawn").Process(target=swap_and_die, args=(storage,))
    writer.start()
    writer.join()
    assert writer.exitcode == -signal.SIGKILL
    data, version = storage.read_versioned("channel")
    assert data == b"one"
    storage.swap("channel", b"three", version)
    assert storage.read("channel") == b"three"


def write(storage: Storage) -> Noted:
    output = StageOutput(storage, Noted, "small", "0" * 16)
    shards = [output.put(name, data, rows=1) for name, data in SHARDS.items()]
    return output.commit(shards, NotedFacts(), rows_in=len(SHARDS))


def write_and_die(storage: Storage, call: str, nth: int) -> None:
    die_at(call, nth)
    write(storage)


def swap_and_die(storage: Storage) -> None:
    die_at("replace", 1)
    storage.swap("channel", b"two", storage.read_versioned("channel")[1])


def die_at(call: str, nth: int) -> None:
    """Kill this process instead of its n-th call of a function of `os`."""
    original, calls = getattr(os, call), []

    def count(*args: object, **options: object) -> object:
        calls.append(args)
        if len(calls) == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **options)

    setattr(os, call, count)
