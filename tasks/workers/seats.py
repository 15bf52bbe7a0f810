"""The workers as their queues see them: what each one has to do, and when it was last heard of."""

from collections import deque
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

Item = TypeVar("Item")


@dataclass
class Task(Generic[Item]):
    """An item on its way, its queue, the number of workers that it has ended, and when its worker began with it.

    A ``suspect`` was with a worker that ended, and is tried alone: a worker can end so soon after an answer that the
    answer is lost with it, and then the item before the one that ended it would be blamed.
    """

    item: Item
    queue: object
    deaths: int = 0
    begun: float = 0.0
    suspect: bool = False


@dataclass
class Seat:
    """An actor, its calls on their way in their order, since when it is ready, and the last question if it lives.

    ``cpu`` are the seconds that its work had taken when it last answered, and ``moved`` is when they last grew. It is
    ``heard`` once it has answered, ``placed`` once a node was seen to have started it, and ``given_up`` once it was
    ended from here.
    """

    actor: Any
    starting: Any
    tasks: deque[tuple[Any, Task[Any]]] = field(default_factory=deque)
    ready: float | None = None
    pulse: Any = None
    asked: float = 0.0
    cpu: float = 0.0
    moved: float = 0.0
    heard: bool = False
    placed: bool = False
    given_up: bool = False


class Seats(Protocol):
    """What a queue needs of a pool."""

    seats: list[Seat]

    @property
    def enough(self) -> bool:
        """Whether enough workers are there to begin."""

    def replace(self, seat: Seat) -> None:
        """Start another actor in place of one that ended."""

    def look_after(self) -> None:
        """Say what stands in the way of the workers that are not there."""


def awaited(seat: Seat) -> Any:
    """The call of a worker that comes back next; None if there is none."""
    if seat.ready is None:
        return seat.starting
    return seat.tasks[0][0] if seat.tasks else None
