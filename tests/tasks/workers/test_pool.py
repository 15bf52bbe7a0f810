"""The pool: order of values, unchanged errors of items, and an item that kills its worker."""

import os
import signal
import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest
import ray
import torch

from mascing.errors import DataError, MascingError
from mascing.schemas.config import ComputeConfig
from mascing.tasks.guarding.sigterm import interrupt_on_sigterm
from mascing.tasks.workers.pool import Pool
from mascing.tasks.workers.work_queue import RETRIES
from mascing.tasks.workers.worker import Worker


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    # Workers have the package installed, but not this file.
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    with Pool(ComputeConfig(workers=2)) as pool:
        yield pool


def test_values_come_in_the_order_of_the_items(pool: Pool) -> None:
    progress: list[tuple[int, int]] = []
    assert pool.map(_times, 3, range(20), lambda done, total: progress.append((done, total))) == list(range(0, 60, 3))
    assert progress == [(done, 20) for done in range(21)]


def test_progress_counts_what_the_items_hold(pool: Pool) -> None:
    progress: list[tuple[int, int]] = []
    pool.map(_times, 2, [1, 3], lambda done, total: progress.append((done, total)), size=lambda item: item)
    assert progress[0] == (0, 4)
    assert progress[1] in ((1, 4), (3, 4))
    assert progress[2:] == [(4, 4)]


def test_no_items_give_no_values(pool: Pool) -> None:
    assert pool.map(_times, 3, [], _nobody) == []


def test_a_worker_has_one_thread(pool: Pool) -> None:
    assert pool.map(_threads, None, range(2), _nobody) == [(1, "1")] * 2


def test_an_items_error_arrives_as_it_was_raised(pool: Pool) -> None:
    with pytest.raises(DataError, match=r"^item 2 is bad$") as caught:
        pool.map(_refuse, 2, range(4), _nobody)
    assert type(caught.value) is DataError


def test_a_worker_that_dies_once_is_replaced(pool: Pool, tmp_path: object) -> None:
    assert pool.map(_die_once, str(tmp_path), range(4), _nobody) == [0, 1, 2, 3]


def test_an_item_that_kills_every_worker_ends_the_run(pool: Pool) -> None:
    with pytest.raises(MascingError, match=rf"died .* the same item, {RETRIES + 1} times"):
        pool.map(_die, 1, range(3), _nobody)


def test_code_that_a_worker_does_not_have_is_said(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    only_here = types.ModuleType("only_here")
    exec("def work(worker, shared, item): return item", only_here.__dict__)
    monkeypatch.setitem(sys.modules, "only_here", only_here)
    with pytest.raises(MascingError, match=r"No module named 'only_here'; install the same MASCing on every node"):
        pool.map(only_here.work, None, [1], _nobody)


def _nobody(done: int, total: int) -> None:
    pass


def _times(worker: Worker, factor: int, item: int) -> int:
    return factor * item


def _threads(worker: Worker, shared: None, item: int) -> tuple[int, str]:
    return torch.get_num_threads(), os.environ["OMP_NUM_THREADS"]


def _refuse(worker: Worker, bad: int, item: int) -> int:
    if item == bad:
        raise DataError(f"item {item} is bad")
    return item


def _die_once(worker: Worker, folder: str, item: int) -> int:
    marker = os.path.join(folder, "died")
    if item == 1 and not os.path.exists(marker):
        open(marker, "x").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def _die(worker: Worker, bad: int, item: int) -> int:
    if item == bad:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


@pytest.mark.parametrize(
    ("interrupt", "expected"),
    [(signal.SIG_IGN, signal.default_int_handler), (print, print)],
    ids=["ignored", "handled"],
)
def test_sigterm_stops_a_run_even_where_ctrl_c_is_ignored(interrupt: Any, expected: Any) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        signal.signal(signal.SIGINT, interrupt)
        interrupt_on_sigterm()
        assert signal.getsignal(signal.SIGTERM) is expected
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
