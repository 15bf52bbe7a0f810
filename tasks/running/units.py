"""Units of work: each leaves one complete object, made by whoever comes first and adopted by everybody else.

A stage is a set of units with deterministic names. Whatever ends a run, the units that are stored stay, and the next
start makes what is missing. A row that ends every worker is found by halving and set aside; its unit holds the reason.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Generic, Protocol, Self, TypeVar

from mascing.progress import Event, tell
from mascing.storage.object_storage import Storage
from mascing.tasks.running.isolation import Failed
from mascing.tasks.running.pieces import stored
from mascing.tasks.workers.pool import Pool
from mascing.tasks.workers.tally import current
from mascing.tasks.workers.work_queue import Died, WorkerDiedError
from mascing.tasks.workers.worker import Worker


class Unit(Protocol):
    """Rows that are processed together and stored at ``path``."""

    @property
    def path(self) -> str:
        """The name of the unit's object; it holds everything that determines the content."""

    def __len__(self) -> int:
        """The number of rows."""

    def part(self, start: int, stop: int) -> Self:
        """These rows alone."""


U = TypeVar("U", bound=Unit)
Shared = TypeVar("Shared")
Row = TypeVar("Row")
Value = TypeVar("Value")

SetAside = Mapping[int, Failed]
"""Why rows of a unit must not be processed, by their position in it."""


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


def run_units(
    pool: Pool,
    storage: Storage,
    kind: Kind[U, Shared, Value],
    shared: Shared,
    units: Sequence[U],
    progress: Callable[[int, int], None],
) -> Iterator[tuple[U, Value]]:
    """Each unit with the value that ``kind`` reads of its object, as they finish; units that are stored are not remade.

    ``progress`` counts rows. Raises MascingError as a unit raised it, and WorkerDiedError if a unit ends its workers
    although none of its rows alone does.
    """
    done, total = 0, sum(map(len, units))
    progress(done, total)
    if not units:
        return
    hunts: dict[str, _Hunt[U]] = {}
    queue = pool.queue(
        _run,
        _Common(storage, kind, shared),
        map(_Work, _stored_first(storage, units)),
        survive=True,
        size=lambda work: len(work.unit),
    )
    for work, value in queue:
        hunt = hunts.setdefault(work.whole.path, _Hunt(work.whole)) if work.probes or isinstance(value, Died) else None
        if hunt is not None:
            queue.again(hunt.after(work, value.reason if isinstance(value, Died) else None))
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
class _Common:
    storage: Storage
    kind: Kind[Any, Any, Any]
    shared: Any


@dataclass(frozen=True)
class _Work(Generic[U]):
    """A unit to be made; or rows from ``start`` of ``of``, only to see whether they end a worker."""

    unit: U
    set_aside: SetAside = field(default_factory=dict)
    of: U | None = None
    start: int = 0

    @property
    def name(self) -> str:
        """The unit's, for logs; of rows alone with their places."""
        rows = f" rows {self.start}-{self.start + len(self.unit) - 1}" if self.probes else ""
        return f"{self.unit.path}{rows}"

    @property
    def probes(self) -> bool:
        """Whether the result is dropped."""
        return self.of is not None

    @property
    def whole(self) -> U:
        """The unit that the rows belong to."""
        return self.unit if self.of is None else self.of


def _run(worker: Worker, common: _Common, work: _Work[Any]) -> Any:
    make, read = common.kind.make, common.kind.read
    if work.probes:
        read(worker, common.shared, work.unit, make(worker, common.shared, work.unit, {}), {})
        return None
    data = stored(common.storage, work.unit.path, lambda: make(worker, common.shared, work.unit, work.set_aside))
    return read(worker, common.shared, work.unit, data, work.set_aside)


class _Hunt(Generic[U]):
    """The search for the rows of one unit that end a worker."""

    def __init__(self, unit: U) -> None:
        self._unit = unit
        self._found: dict[int, Failed] = {}
        self._out = 0

    def after(self, work: _Work[U], reason: str | None) -> Iterable[_Work[U]]:
        """What to try next, once ``work`` is done or, for a ``reason``, given up."""
        if not work.probes:
            if work.set_aside or (len(self._unit) == 1 and self._found):
                raise _ends_as_a_whole(self._unit, str(reason))
            return self._halves(work) if len(self._unit) > 1 else self._alone(work, str(reason))
        self._out -= 1
        if reason is not None and len(work.unit) > 1:
            return self._halves(work)
        if reason is not None:
            self._found[work.start] = Failed(reason)
        return self._whole(reason) if not self._out else []

    def _halves(self, work: _Work[U]) -> list[_Work[U]]:
        middle = len(work.unit) // 2
        self._out += 2
        parts = (work.unit.part(0, middle), work.start), (work.unit.part(middle, len(work.unit)), work.start + middle)
        return [_Work(part, of=self._unit, start=start) for part, start in parts]

    def _alone(self, work: _Work[U], reason: str) -> list[_Work[U]]:
        self._found[0] = Failed(reason)
        return [_Work(work.unit, self._found)]

    def _whole(self, reason: str | None) -> list[_Work[U]]:
        """The unit again, without the rows that were found."""
        if not self._found:
            raise _ends_as_a_whole(self._unit, reason or "it works on each half alone")
        return [_Work(self._unit, dict(self._found))]


def _ends_as_a_whole(unit: Unit, reason: str) -> WorkerDiedError:
    return WorkerDiedError(
        f"a piece of work of {len(unit)} rows ends its worker each time, though none of its rows alone does "
        f"({reason}): lower harvest.batch_tokens or generation.batch_size"
    )
