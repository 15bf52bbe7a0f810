"""Units: made once, adopted from whoever made them, and a row that ends its workers is found and set aside."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mascing.storage.object_storage import Storage
from mascing.tasks.running.bisection import SetAside, Work
from mascing.tasks.running.units import Kind, run_units
from mascing.tasks.workers.work_queue import Died, WorkerDiedError
from mascing.tasks.workers.worker import Worker
from tests.tasks.here_pool import HerePool


@dataclass(frozen=True)
class Numbers:
    path: str
    numbers: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.numbers)

    def part(self, start: int, stop: int) -> "Numbers":
        return Numbers(self.path, self.numbers[start:stop])


@dataclass
class MortalPool(HerePool):
    """A pool whose worker ends whenever ``ends`` says so of the numbers that it is about to process."""

    ends: Any
    asked: list[tuple[int, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def result(self, function: Any, shared: Any, work: Any) -> Any:
        if not isinstance(work, Work):  # several at once
            numbers = [number for unit in work.units for number in unit.numbers]
        else:
            numbers = [number for place, number in enumerate(work.unit.numbers) if place not in work.set_aside]
        self.asked.append(tuple(numbers))
        return Died("killed") if self.ends(numbers) else super().result(function, shared, work)


def make(worker: Worker, shared: Any, unit: Numbers, set_aside: SetAside) -> bytes:
    said = [set_aside[place].reason if place in set_aside else str(number) for place, number in enumerate(unit.numbers)]
    return ",".join(said).encode()


def read(worker: Worker, shared: Any, unit: Numbers, data: bytes, set_aside: SetAside) -> str:
    return data.decode()


UNITS = [Numbers("units/a", (1, 2)), Numbers("units/b", (3, 4, 5, 6)), Numbers("units/c", (7,))]


def make_all(worker: Worker, shared: Any, units: Sequence[Numbers]) -> list[bytes]:
    return [make(worker, shared, unit, {}) for unit in units]


def run(pool: HerePool, storage: Storage, units: Sequence[Numbers] = UNITS, together: int = 0) -> dict[str, str]:
    progress: list[tuple[int, int]] = []
    kind = Kind(make, read, make_all)
    made = run_units(pool, storage, kind, None, units, lambda done, total: progress.append((done, total)), together)
    values = {unit.path: value for unit, value in made}
    assert progress[-1] == (sum(map(len, units)),) * 2
    return values


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage.open(str(tmp_path))


def test_each_unit_is_one_object_and_an_object_that_is_there_is_adopted(storage: Storage) -> None:
    storage.create("units/a", b"another run's")
    assert run(HerePool(), storage) == {"units/a": "another run's", "units/b": "3,4,5,6", "units/c": "7"}
    assert {path: storage.read(path) for path in storage.list()} == {
        "units/a": b"another run's",
        "units/b": b"3,4,5,6",
        "units/c": b"7",
    }


def test_rows_that_end_their_worker_are_found_and_their_unit_keeps_the_others(storage: Storage) -> None:
    pool = MortalPool(lambda numbers: 5 in numbers or 7 in numbers)
    assert run(pool, storage) == {"units/a": "1,2", "units/b": "3,4,killed,6", "units/c": "killed"}
    assert storage.read("units/b") == b"3,4,killed,6"
    assert storage.list() == ["units/a", "units/b", "units/c"]
    assert run(MortalPool(lambda numbers: False), storage)["units/b"] == "3,4,killed,6"


def test_a_unit_that_ends_workers_only_as_a_whole_is_told(storage: Storage) -> None:
    with pytest.raises(WorkerDiedError, match="none of its rows alone does"):
        run(MortalPool(lambda numbers: len(numbers) == 2), storage)
    assert storage.list() == ["units/b"]  # the longest go first


def test_a_unit_that_still_ends_its_worker_without_the_rows_that_were_found_is_told(storage: Storage) -> None:
    pool = MortalPool(lambda numbers: numbers == [5] or 5 in numbers or len(numbers) == 3)
    with pytest.raises(WorkerDiedError, match="none of its rows alone does"):
        run(pool, storage)


def test_units_that_are_made_at_once_are_objects_of_their_own(storage: Storage) -> None:
    storage.create("units/a", b"another run's")
    pool = MortalPool(lambda numbers: False)
    assert run(pool, storage, together=6) == {"units/a": "another run's", "units/b": "3,4,5,6", "units/c": "7"}
    assert pool.asked == [(1, 2, 3, 4, 5, 6), (7,)]
    assert storage.read("units/b") == b"3,4,5,6"


def test_units_that_end_their_worker_at_once_are_tried_one_by_one(storage: Storage) -> None:
    pool = MortalPool(lambda numbers: 5 in numbers)
    assert run(pool, storage, together=7) == {"units/a": "1,2", "units/b": "3,4,killed,6", "units/c": "7"}
    assert len(pool.asked[0]) == 7
