"""The search for rows that end every worker that takes them: the rows of a unit are halved until each is alone.

Rows that are found are set aside, and their unit is made without them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, Self, TypeVar

from mascing.tasks.running.isolation import Failed
from mascing.tasks.workers.work_queue import Died, WorkerDiedError


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

SetAside = Mapping[int, Failed]
"""Why rows of a unit must not be processed, by their position in it."""


@dataclass(frozen=True)
class Work(Generic[U]):
    """A unit to be made; or rows from ``start`` of ``of``, only to see whether they end a worker."""

    unit: U
    set_aside: SetAside = field(default_factory=dict)
    of: U | None = None
    start: int = 0

    def __len__(self) -> int:
        return len(self.unit)

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


class Bisection(Generic[U]):
    """The searches in all units of a queue, whose items are `Work` and survive."""

    def __init__(self) -> None:
        self._hunts: dict[str, _Hunt[U]] = {}

    def after(self, work: Work[U], value: Any) -> Iterable[Work[U]] | None:
        """What to try next, once ``work`` is done with ``value``; None if that is the value of its unit.

        Raises WorkerDiedError if a unit ends its workers although none of its rows alone does.
        """
        died = isinstance(value, Died)
        if not work.probes and not died:
            return None
        hunt = self._hunts.setdefault(work.whole.path, _Hunt(work.whole))
        return hunt.after(work, value.reason if died else None)


class _Hunt(Generic[U]):
    """The search for the rows of one unit that end a worker."""

    def __init__(self, unit: U) -> None:
        self._unit = unit
        self._found: dict[int, Failed] = {}
        self._out = 0

    def after(self, work: Work[U], reason: str | None) -> Iterable[Work[U]]:
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

    def _halves(self, work: Work[U]) -> list[Work[U]]:
        middle = len(work.unit) // 2
        self._out += 2
        parts = (work.unit.part(0, middle), work.start), (work.unit.part(middle, len(work.unit)), work.start + middle)
        return [Work(part, of=self._unit, start=start) for part, start in parts]

    def _alone(self, work: Work[U], reason: str) -> list[Work[U]]:
        self._found[0] = Failed(reason)
        return [Work(work.unit, self._found)]

    def _whole(self, reason: str | None) -> list[Work[U]]:
        """The unit again, without the rows that were found."""
        if not self._found:
            raise _ends_as_a_whole(self._unit, reason or "it works on each half alone")
        return [Work(self._unit, dict(self._found))]


def _ends_as_a_whole(unit: Unit, reason: str) -> WorkerDiedError:
    return WorkerDiedError(
        f"a piece of work of {len(unit)} rows ends its worker each time, though none of its rows alone does "
        f"({reason}): lower harvest.batch_tokens or generation.batch_size"
    )
