"""Workers that stop, hang or lose their engine are replaced, and their items are done all the same."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from mascing.progress import forwarded
from mascing.schemas.config import ComputeConfig
from mascing.tasks.workers import stuck, work_queue
from mascing.tasks.workers.pool import Pool
from mascing.tasks.workers.seats import Seat, Task
from mascing.tasks.workers.tally import tallied
from mascing.tasks.workers.work_queue import Died, WorkQueue
from mascing.tasks.workers.worker import Worker


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    with Pool(ComputeConfig(workers=2)) as pool:
        yield pool


def done(pool: Pool, function: Any, folder: Path, survive: bool = False) -> dict[int, Any]:
    return dict(pool.queue(function, str(folder), iter(range(12)), survives=lambda item: survive))


def test_a_worker_that_is_stopped_is_noticed_and_replaced(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stuck, "_SILENT_SECONDS", 3.0)
    monkeypatch.setattr(stuck, "_PULSE_SECONDS", 1.0)
    assert done(pool, _stop_at_four, tmp_path) == {number: number for number in range(12)}
    stopped = int((tmp_path / "pid").read_text())
    wait_until_gone(stopped)


def test_an_item_that_takes_much_longer_than_the_others_is_tried_elsewhere(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stuck, "_SHORTEST_SECONDS", 2.0)
    assert done(pool, _hang_at_four, tmp_path) == {number: number for number in range(12)}


def test_work_of_unknown_length_that_takes_no_time_of_the_cpu_is_tried_elsewhere(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stuck, "_IDLE_SECONDS", 4.0)
    monkeypatch.setattr(stuck, "_PULSE_SECONDS", 1.0)
    with tallied("optimise", "0" * 16) as tally:
        queue = pool.queue(_work_or_hang_at_four, str(tmp_path), iter((4, 5)), size=lambda item: 0)
        assert dict(queue) == {4: 4, 5: 5}
    assert tally.replaced == 1


def test_a_worker_whose_engine_is_dead_ends_and_that_is_told(pool: Pool, tmp_path: Path) -> None:
    lines: list[str] = []
    with forwarded(lines.append):
        assert done(pool, _lose_the_engine_at_four, tmp_path) == {number: number for number in range(12)}
    [line] = [line for line in lines if "ended" in line]
    assert line.startswith("ray: a worker has ended (The actor died")
    assert line.endswith("); another one takes its place")


def test_an_item_that_ends_every_worker_is_given_up_where_others_shall_survive_it(pool: Pool, tmp_path: Path) -> None:
    with tallied("harvest", "0" * 16) as tally:
        values = done(pool, _end_at_four, tmp_path, survive=True)
    assert isinstance(values.pop(4), Died)
    assert values == {number: number for number in range(12) if number != 4}
    # One more if the first worker ended before its answer to the item before was out.
    assert tally.replaced in (work_queue.ROW_RETRIES + 1, work_queue.ROW_RETRIES + 2)
    assert f"{tally.replaced} workers replaced" in tally.summary()


def test_what_was_with_a_worker_that_ended_is_tried_alone(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand, beside = WorkQueue._hand, list[tuple[int, bool, list[bool]]]()

    def watched(queue: WorkQueue[int], seat: Seat, task: Task[int]) -> None:
        beside.append((task.item, task.suspect, [other.suspect for _, other in seat.tasks]))
        hand(queue, seat, task)

    monkeypatch.setattr(WorkQueue, "_hand", watched)
    done(pool, _end_at_four, tmp_path, survive=True)
    assert any(others for _, _, others in beside), "some items are handed out in advance"
    suspects = [(item, others) for item, suspect, others in beside if suspect]
    assert 4 in [item for item, _ in suspects]
    assert not any(others for _, others in suspects), "a suspect waits behind nothing"
    assert not any(any(others) for _, _, others in beside), "nothing waits behind a suspect"


def test_a_queue_that_was_left_early_disturbs_no_later_one(pool: Pool, tmp_path: Path) -> None:
    for _ in pool.queue(_slow, "", iter(range(100))):
        break
    assert done(pool, _slow, tmp_path) == {number: number for number in range(12)}


def test_half_the_budget_is_tried_when_memory_runs_out_and_what_fits_is_remembered() -> None:
    worker, tried = Worker(), list[int]()

    def run(budget: int) -> int:
        tried.append(budget)
        if budget > 100:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return budget

    assert worker.within_memory("harvest", 512, run) == 64
    assert worker.within_memory("harvest", 512, run) == 64
    assert worker.within_memory("generate", 100, run) == 100
    assert tried == [512, 256, 128, 64, 64, 100]
    with pytest.raises(RuntimeError, match="no such expert"):
        worker.within_memory("harvest", 64, _wrong)


def wait_until_gone(pid: int) -> None:
    for _ in range(100):
        if not Path(f"/proc/{pid}").exists():
            return
        time.sleep(0.1)
    raise AssertionError(f"process {pid} is still there")


def _first_at_four(folder: str, item: int) -> bool:
    """Whether this is the first time that item 4 is tried."""
    path = Path(folder, "pid")
    if item != 4 or path.exists():
        return False
    path.write_text(str(os.getpid()))
    return True


def _stop_at_four(worker: Worker, folder: str, item: int) -> int:
    if _first_at_four(folder, item):
        os.kill(os.getpid(), signal.SIGSTOP)
    return item


def _hang_at_four(worker: Worker, folder: str, item: int) -> int:
    if _first_at_four(folder, item):
        time.sleep(3600)
    return item


def _work_or_hang_at_four(worker: Worker, folder: str, item: int) -> int:
    """Hang, or work for longer than it may be idle."""
    if _first_at_four(folder, item):
        time.sleep(3600)
    end = time.monotonic() + 8
    while time.monotonic() < end:
        pass
    return item


def _lose_the_engine_at_four(worker: Worker, folder: str, item: int) -> int:
    if _first_at_four(folder, item):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")
    return item


def _end_at_four(worker: Worker, folder: str, item: int) -> int:
    if item == 4:
        os._exit(1)
    return item


def _slow(worker: Worker, folder: str, item: int) -> int:
    time.sleep(0.05)
    return item


def _wrong(budget: int) -> int:
    raise RuntimeError("no such expert")
