"""One holder at a time, as long as it lives; whoever comes back too late finds out."""

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Barrier, Thread

import pytest

from mascing.errors import StorageError
from mascing.storage import lease as leases
from mascing.storage.lease import Holder, Lease, Pace, living, path_of
from mascing.storage.object_storage import Storage

PACE = Pace(beat=0.05, patience=1.0)


class Left(Exception):
    """Raised by a waiting callback: this one does not wait."""


def leave(holder: Holder) -> None:
    raise Left(str(holder))


@contextmanager
def holding_elsewhere(storage: Storage) -> Iterator[tuple[BaseProcess, Connection]]:
    """Another process that holds the lease `work`; it says so, and then whether it lost it each time it is asked."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=hold_and_tell, args=(storage, theirs))
    process.start()
    theirs.close()
    try:
        assert ours.recv() == "held"
        yield process, ours
    finally:
        process.kill()
        process.join()


def hold_and_tell(storage: Storage, pipe: Connection) -> None:
    with Lease.hold(storage, "work", pace=PACE) as lease:
        pipe.send("held")
        while pipe.recv() != "end":
            pipe.send(lease.lost)


def eventually(pipe: Connection, wanted: bool) -> bool:
    """Whether the other process says so within some beats of its lease."""
    for _ in range(100):
        pipe.send("lost?")
        if pipe.recv() is wanted:
            return True
        time.sleep(PACE.beat)
    return False


def test_a_lease_is_held_while_the_block_runs_and_free_after_it(storage: Storage) -> None:
    assert Lease.look(storage, "work") is None
    with Lease.hold(storage, "work", pace=PACE) as lease:
        holder = Lease.look(storage, "work")
        assert holder is not None
        assert holder.pid == os.getpid()
        with pytest.raises(Left, match=f"process {os.getpid()} on "), Lease.hold(storage, "work", leave, PACE):
            pass
        with Lease.hold(storage, "other work", leave, PACE):
            assert not lease.lost
    assert Lease.look(storage, "work") is None
    with Lease.hold(storage, "work", leave, PACE):
        pass


def test_it_is_free_after_an_error_too(tmp_path: Path) -> None:
    storage = Storage.open(str(tmp_path))
    with pytest.raises(ZeroDivisionError), Lease.hold(storage, "work", pace=PACE):
        raise ZeroDivisionError
    assert Lease.look(storage, "work") is None


def test_a_living_holder_keeps_it_for_longer_than_the_patience(tmp_path: Path) -> None:
    storage = Storage.open(str(tmp_path))
    with holding_elsewhere(storage) as (_, pipe):
        deadline = time.monotonic() + 2.5 * PACE.patience

        def wait_until(holder: Holder) -> None:
            if time.monotonic() > deadline:
                raise Left

        with pytest.raises(Left), Lease.hold(storage, "work", wait_until, PACE):
            pass
        assert eventually(pipe, wanted=False)
        assert list(living(storage, PACE)) == ["work"]


def test_whoever_waits_gets_it_when_the_holder_is_done(storage: Storage) -> None:
    with holding_elsewhere(storage) as (process, pipe):
        waited: list[Holder] = []

        def ask_to_end(holder: Holder) -> None:
            if not waited:
                pipe.send("end")
            waited.append(holder)

        with Lease.hold(storage, "work", ask_to_end, PACE):
            assert {holder.pid for holder in waited} == {process.pid}


def test_of_many_at_once_one_holds_it_at_a_time(tmp_path: Path) -> None:
    storage, inside, most, start = Storage.open(str(tmp_path)), [0], [0], Barrier(4)

    def work() -> None:
        start.wait()
        with Lease.hold(storage, "work", pace=Pace(beat=0.02, patience=60)):
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            time.sleep(0.05)
            inside[0] -= 1

    threads = [Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]


@pytest.mark.parametrize("elsewhere", [True, False])
def test_a_killed_holder_is_followed(storage: Storage, elsewhere: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    with holding_elsewhere(storage) as (process, _):
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        killed = Lease.look(storage, "work")
        assert killed is not None
        assert killed.pid == process.pid
        assert living(storage, PACE) == {}
        if elsewhere:
            monkeypatch.setattr(leases, "this_machine", lambda: "another one")
        started = time.monotonic()
        with Lease.hold(storage, "work", pace=PACE) as lease:
            # Nobody believes what it has not watched; but a machine knows its own processes.
            assert (time.monotonic() - started > PACE.patience) is elsewhere
            assert not lease.lost


def test_a_holder_that_was_paused_finds_out_and_harms_nothing(storage: Storage) -> None:
    with holding_elsewhere(storage) as (process, pipe):
        assert process.pid is not None
        assert eventually(pipe, wanted=False)
        os.kill(process.pid, signal.SIGSTOP)
        with Lease.hold(storage, "work", pace=PACE) as lease:
            os.kill(process.pid, signal.SIGCONT)
            assert eventually(pipe, wanted=True)
            pipe.send("end")
            process.join()
            assert process.exitcode == 0
            holder = Lease.look(storage, "work")
            assert holder is not None
            assert holder.pid == os.getpid()
            assert not lease.lost


def test_no_wall_clock_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a clock that is wrong, or is set meanwhile, changes nothing."""
    storage = Storage.open(str(tmp_path))

    def refuse(*_: object) -> float:
        raise AssertionError("a lease asked for the time of day")

    with holding_elsewhere(storage) as (process, _):
        process.kill()
        process.join()
        for name in ("time", "time_ns", "localtime", "gmtime"):
            monkeypatch.setattr(time, name, refuse)
        monkeypatch.setattr(os, "utime", refuse)
        with Lease.hold(storage, "work", pace=PACE) as lease:
            first = Lease.look(storage, "work")
            while Lease.look(storage, "work") == first:
                time.sleep(0.01)
            assert not lease.lost
        monkeypatch.undo()


def test_a_beat_that_fails_is_seen_by_the_holder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Storage.open(str(tmp_path))
    with Lease.hold(storage, "work", pace=PACE) as lease:
        monkeypatch.setattr(storage, "swap", lambda *_: 1 / 0)
        while not lease.lost:
            time.sleep(0.01)
        assert isinstance(lease.error, ZeroDivisionError)
        monkeypatch.undo()


def test_a_storage_that_fails_for_a_while_costs_no_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage, failed = Storage.open(str(tmp_path)), Barrier(2)

    def fail(path: str) -> tuple[bytes, str]:
        failed.wait()
        raise StorageError("away")

    with Lease.hold(storage, "work", pace=PACE) as lease:
        monkeypatch.setattr(storage, "read_versioned", fail)
        failed.wait()
        monkeypatch.undo()
        before = Lease.look(storage, "work")
        while Lease.look(storage, "work") == before:
            time.sleep(0.01)
        assert not lease.lost


def test_a_damaged_lease_stands_in_nobodys_way(storage: Storage) -> None:
    storage.overwrite(path_of("work"), b"{")
    assert Lease.look(storage, "work") is None
    with Lease.hold(storage, "work", leave, PACE) as lease:
        storage.overwrite(path_of("work"), b"{")
        while not lease.lost:
            time.sleep(0.01)
