"""Workers that hang while they start or load the model are noticed, ended and replaced."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray

from mascing.progress import forwarded
from mascing.schemas.config import ComputeConfig
from mascing.tasks.workers import pool as pools
from mascing.tasks.workers import stuck
from mascing.tasks.workers.pool import Pool
from mascing.tasks.workers.seats import Seat
from mascing.tasks.workers.worker import Worker
from tests.tasks.workers.test_work_queue import wait_until_gone


def stopped_in_init(pid: Path) -> type[Worker]:
    """A worker whose first process stops before it can answer anything."""

    class Stopped(Worker):
        def __init__(self, num_gpus: float = 0) -> None:
            _stop_first(pid)
            super().__init__(num_gpus)

    return Stopped


def stopped_in_ready(pid: Path) -> type[Worker]:
    """A worker whose first process stops while it would load the model."""

    class Stopped(Worker):
        def ready(self, config: Any = None, engine: Any = None) -> None:
            _stop_first(pid)

    return Stopped


def _stop_first(pid: Path) -> None:
    if not pid.exists():
        pid.write_text(str(os.getpid()))
        os.kill(os.getpid(), signal.SIGSTOP)


@pytest.mark.parametrize("stopped", [stopped_in_init, stopped_in_ready])
def test_a_worker_that_is_stopped_while_it_starts_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped: Callable[[Path], type[Worker]]
) -> None:
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    pid, told = tmp_path / "pid", list[str]()

    def given_up() -> bool:
        return any("a worker has not answered for " in text for text in told)

    def impatient(seat: Seat, now: float) -> str | None:
        """Patience is short while the first process is stopped; one that starts has its usual time, busy or not."""
        with monkeypatch.context() as here:
            if pid.exists() and not given_up():
                here.setattr(stuck, "_START_SECONDS", 1.0)
            return stuck.unstarted(seat, now)

    monkeypatch.setattr(pools, "unstarted", impatient)
    monkeypatch.setattr(stuck, "_PULSE_SECONDS", 1.0)
    monkeypatch.setattr(pools, "Worker", stopped(pid))
    with forwarded(told.append), Pool(ComputeConfig(workers=1)) as pool:
        assert pool.map(_same, None, [1, 2, 3], lambda done, total: None) == [1, 2, 3]
    assert given_up()
    wait_until_gone(int(pid.read_text()))


def _same(worker: Worker, shared: None, item: int) -> int:
    return item
