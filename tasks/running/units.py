"""Units of work: each leaves one complete object, made by whoever comes first and adopted by everybody else.

A stage is a set of units with deterministic names. Whatever ends a run, the units that are stored stay, and the next
start makes what is missing. A row that ends every worker is found by halving and set aside; its unit holds the reason.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Generic, TypeVar

from mascing.progress import Event, tell
from mascing.storage.object_storage import Storage
from mascing.tasks.running.bisection import Bisection, SetAside, U, Work
from mascing.tasks.running.isolation import Failed
from mascing.tasks.running.pieces import created, found, stored
from mascing.tasks.workers.pool import Pool
from mascing.tasks.workers.tally import current
from mascing.tasks.workers.work_queue import Died
from mascing.tasks.workers.worker import Worker

Shared = TypeVar("Shared")
Row = TypeVar("Row")
Value = TypeVar("Value")


def around(
    set_aside: SetAside, rows: Sequence[Row], process: Callable[[Sequence[Row]], Iterable[Value]]
) -> list[Value | Failed]:
    """``process`` of the rows that are not set aside, one value each, and in their places why the others are."""
    values = iter(process([row for place, row in enumerate(rows) if place not in set_aside]))
    return [set_aside[place] if place in set_aside else next(values) for place in range(len(rows))]


@dataclass(frozen=True)
class Kind(Generic[U, Shared, Value]):
    """How workers make the object of a unit, and what they tell the driver of it.

    ``make`` gives the bytes of the whole unit, rows that are set aside included with their reasons; ``read`` what the
    driver needs of the stored bytes, which another run may have made, so that they may say nothing of rows that are set
    aside: where ``read`` ends its worker too, as a judge may, it must pass these over.
    """

    make: Callable[[Worker, Shared, U, SetAside], bytes]
    read: Callable[[Worker, Shared, U, bytes, SetAside], Value]
    make_all: Callable[[Worker, Shared, Sequence[U]], Sequence[bytes]] | None = None
    """The objects of several units at once, where that is faster than one by one."""


def run_units(
    pool: Pool,
    storage: Storage,
    kind: Kind[U, Shared, Value],
    shared: Shared,
    units: Sequence[U],
    progress: Callable[[int, int], None],
    together: int = 0,
) -> Iterator[tuple[U, Value]]:
    """Each unit with the value that ``kind`` reads of its object, as they finish; units that are stored are not remade.

    ``progress`` counts rows. A worker makes units of up to ``together`` rows at once, if ``kind`` can.
    Raises MascingError as a unit raised it, and WorkerDiedError if a unit ends its workers although none of its rows
    alone does.
    """
    done, total = 0, sum(map(len, units))
    progress(done, total)
    if not units:
        return
    bisection = Bisection[U]()
    queue = pool.queue(
        _run,
        _Common(storage, kind, shared),
        _items(_stored_first(storage, units), together if kind.make_all is not None else 0),
        survives=lambda work: True,
        size=len,
    )
    for work, value in queue:
        if isinstance(work, _Several):
            if isinstance(value, Died):  # one by one, to find the row that ends the worker
                queue.again(map(Work, work.units))
                continue
            for unit, each in zip(work.units, value, strict=True):
                yield unit, each
                progress(done := done + len(unit), total)
            continue
        if (further := bisection.after(work, value)) is not None:
            queue.again(further)
            continue
        yield work.unit, value
        progress(done := done + len(work.unit), total)


def _stored_first(storage: Storage, units: Sequence[U]) -> list[U]:
    """Those that are stored first, so that the bar shows the pace of the others; of these, the longest first.

    So no worker is left alone with a long one at the end.
    """
    units = sorted(units, key=len, reverse=True)
    folders = {str(PurePosixPath(unit.path).parent) for unit in units}
    if len(folders) > 1:  # as many as masks, with a few units each
        return units
    stored = set(storage.list(*folders))
    there = [unit for unit in units if unit.path in stored]
    if there:
        text = f"{len(there):,} of {len(units):,} pieces are stored already, and taken from there"
        tell(Event(current().stage or "units", "note", text=text))
    return [*there, *(unit for unit in units if unit.path not in stored)]


@dataclass(frozen=True)
class _Several(Generic[U]):
    """Units that a worker makes at once."""

    units: Sequence[U]

    @property
    def name(self) -> str:
        """That of the first unit, for logs."""
        return f"{self.units[0].path} and {len(self.units) - 1} more"

    def __len__(self) -> int:
        return sum(map(len, self.units))


def _items(units: Sequence[U], together: int) -> Iterator[Work[U] | _Several[U]]:
    """The units, those together that have up to ``together`` rows."""
    batches: list[list[U]] = []
    rows = 0
    for unit in units:
        if not batches or rows + len(unit) > together:
            batches.append([])
            rows = 0
        batches[-1].append(unit)
        rows += len(unit)
    return (Work(batch[0]) if len(batch) == 1 else _Several(batch) for batch in batches)


@dataclass(frozen=True)
class _Common:
    storage: Storage
    kind: Kind[Any, Any, Any]
    shared: Any


def _run(worker: Worker, common: _Common, work: Work[Any] | _Several[Any]) -> Any:
    return _run_several(worker, common, work) if isinstance(work, _Several) else _run_one(worker, common, work)


def _run_several(worker: Worker, common: _Common, several: _Several[Any]) -> list[Any]:
    there = {unit.path: data for unit in several.units if (data := found(common.storage, unit.path)) is not None}
    missing = [unit for unit in several.units if unit.path not in there]
    worker.count("found", len(there))
    assert common.kind.make_all is not None
    made = common.kind.make_all(worker, common.shared, missing) if missing else []
    for unit, data in zip(missing, made, strict=True):
        there[unit.path] = created(common.storage, unit.path, data)
    return [common.kind.read(worker, common.shared, unit, there[unit.path], {}) for unit in several.units]


def _run_one(worker: Worker, common: _Common, work: Work[Any]) -> Any:
    make, read = common.kind.make, common.kind.read
    if work.probes:
        read(worker, common.shared, work.unit, make(worker, common.shared, work.unit, {}), {})
        return None
    found = True

    def made() -> bytes:
        nonlocal found
        found = False
        return make(worker, common.shared, work.unit, work.set_aside)

    data = stored(common.storage, work.unit.path, made)
    worker.count("found", int(found))
    return read(worker, common.shared, work.unit, data, work.set_aside)
