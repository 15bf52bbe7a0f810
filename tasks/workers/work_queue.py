"""One queue of items for a pool of workers: prefetch, bounded tries, deadlines, and replacement of workers that end."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic

import ray
import ray.exceptions

from mascing.errors import MascingError, first_line
from mascing.progress import Event, tell
from mascing.tasks.workers.metrics import report
from mascing.tasks.workers.seats import Item, Seat, Seats, Task, awaited
from mascing.tasks.workers.stuck import Pace, give_up, idle, silent, slow
from mascing.tasks.workers.tally import current
from mascing.tasks.workers.worker import Done, Worker

# How often an item is tried again after its worker died. An item that ends every worker must end the run, or be set
# aside, instead of looping.
RETRIES = 3
ROW_RETRIES = 1

_TICK_SECONDS = 1.0


class WorkerDiedError(MascingError):
    """A worker process ended while it ran an item, again and again; None if it ended while it started."""

    item: Any = None


@dataclass(frozen=True)
class Died:
    """The value of an item that ended its worker each time: why the last one ended."""

    reason: str


class WorkQueue(Generic[Item]):
    """Iterates over (item, value) as the workers finish, in no particular order.

    ``function(worker, shared, item)`` must give the same value on any worker. The value of an item that ends its worker
    again and again is a :class:`Died` if the run ``survives`` it; else WorkerDiedError is raised. An exception of the
    function is raised as it is. ``items`` are drawn one by one, as workers take them. ``size`` tells how long an item
    takes beside others; one of size 0 takes as long as it takes while it works, and nothing waits behind it.
    """

    def __init__(
        self,
        pool: "Seats",
        function: Callable[[Worker, Any, Item], Any],
        shared: Any,
        items: Iterable[Item],
        *,
        survives: Callable[[Item], bool] = lambda item: False,
        size: Callable[[Item], int] = lambda item: 1,
    ) -> None:
        self._pool, self._function, self._shared = pool, function, ray.put(shared)
        self._items = iter(items)
        self._first: deque[Task[Item]] = deque()
        self._survives, self._size = survives, size
        self._pace = Pace()
        self._failed_starts = 0
        self._tally = current()

    def again(self, items: Iterable[Item]) -> None:
        """Put items in front of the others."""
        self._first.extend(Task(item, self) for item in items)

    def __iter__(self) -> Iterator[tuple[Item, Any]]:
        started = looked = time.monotonic()
        while self._waits() or any(task.queue is self for seat in self._pool.seats for _, task in seat.tasks):
            self._hand_out()
            for seat in self._answered():
                yield from self._finished(seat)
            if time.monotonic() - looked >= _TICK_SECONDS:
                self._look_after()
                looked = time.monotonic()
        now = time.monotonic()
        self._tally.present += sum(now - max(started, seat.ready) for seat in self._pool.seats if seat.ready)

    def _answered(self) -> list[Seat]:
        """The workers whose next call is back, all at once: asking for one at a time costs a look at every worker."""
        seats = {awaited(seat): seat for seat in self._pool.seats if awaited(seat) is not None}
        finished, _ = ray.wait(list(seats), num_returns=1, timeout=_TICK_SECONDS)
        if finished:
            finished, _ = ray.wait(list(seats), num_returns=len(seats), timeout=0)
        return [seats[reference] for reference in finished]

    def _waits(self, several: int = 1) -> bool:
        """Whether items wait for a worker, as many as ``several``."""
        missing = several - len(self._first)
        self._first.extend(Task(item, self) for item in islice(self._items, max(0, missing)))
        return len(self._first) >= several

    def _hand_out(self) -> None:
        """Give each idle worker an item, and each worker one in advance while there are enough for all.

        The last items are not handed out in advance: one would wait for a busy worker beside idle ones.
        """
        if not self._pool.enough:
            return
        for ahead, several in ((0, 1), (1, len(self._pool.seats) + 1)):
            for seat in self._pool.seats:
                if seat.ready and len(seat.tasks) == ahead and not self._stays_alone(seat) and self._waits(several):
                    if ahead and self._first[0].suspect:
                        return
                    self._hand(seat, self._first.popleft())

    def _stays_alone(self, seat: Seat) -> bool:
        """Whether nothing may wait behind the work of this worker: it may take long, or end the worker."""
        return any(task.suspect or (task.queue is self and not self._size(task.item)) for _, task in seat.tasks)

    def _hand(self, seat: Seat, task: Task[Item]) -> None:
        reference = seat.actor.run.remote(self._function, [self._shared], task.item, self._tally.tags)
        if not seat.tasks:
            task.begun = time.monotonic()
        seat.tasks.append((reference, task))

    def _finished(self, seat: Seat) -> Iterator[tuple[Item, Any]]:
        # An earlier queue may have been left before its last items came back.
        foreign = bool(seat.tasks) and seat.tasks[0][1].queue is not self
        try:
            done = _fetch(awaited(seat), foreign)
        except ray.exceptions.RayTaskError:
            raise
        except ray.exceptions.RayError as error:
            yield from self._ended(seat, first_line(error))
            return
        now = time.monotonic()
        if seat.ready is None:
            seat.ready, self._failed_starts = now, 0
            return
        _, task = seat.tasks.popleft()
        if seat.tasks:
            seat.tasks[0][1].begun = now
        if done is None:
            return
        if size := self._size(task.item):
            self._pace.add(done.seconds, size)
        self._tally.add(done.seconds, done.counts)
        yield task.item, done.value

    def _ended(self, seat: Seat, reason: str) -> Iterator[tuple[Item, Any]]:
        """Replace a worker that ended. Its items wait again, and the one that it worked on has one death more."""
        if not seat.given_up:
            tell(Event("ray", "note", text=f"a worker has ended ({reason.rstrip('.')}); another one takes its place"))
        self._pool.replace(seat)
        self._tally.replaced += 1
        report("retries", len(seat.tasks), self._tally.tags)
        if seat.ready is None:
            self._failed_starts += 1
            if self._failed_starts > RETRIES:
                raise _died("starting up", reason)
            return
        at_work, *waiting = [task for _, task in seat.tasks]
        for task in (at_work, *waiting):
            task.suspect = True
        self._first.extendleft(task for task in reversed(waiting) if task.queue is self)
        if at_work.queue is not self:
            return
        at_work.deaths += 1
        survives = self._survives(at_work.item)
        if at_work.deaths <= (ROW_RETRIES if survives else RETRIES):
            self._first.appendleft(at_work)
        elif survives:
            yield at_work.item, Died(reason)
        else:
            error = _died(f"running the same item, {at_work.deaths} times", reason)
            error.item = at_work.item
            raise error

    def _look_after(self) -> None:
        """End workers that say nothing or are too slow; their items are tried elsewhere."""
        self._pool.look_after()
        now = time.monotonic()
        for seat in self._pool.seats:
            if seat.ready is None or not seat.tasks:
                continue
            reason = silent(seat, now) or self._stuck(seat, now)
            if reason is not None:
                give_up(seat, reason)

    def _stuck(self, seat: Seat, now: float) -> str | None:
        size = self._size(seat.tasks[0][1].item)
        return slow(seat, now, self._pace.deadline(size)) if size else idle(seat, now)


def _fetch(reference: Any, foreign: bool) -> Done | None:
    """The result of a call, None if nobody asks for it. Raises RayError if the worker ended, else what was raised."""
    try:
        done: Done | None = ray.get(reference)
        return None if foreign else done
    except ray.exceptions.RayTaskError as error:
        if foreign:
            return None
        if isinstance(error.cause, MascingError):
            raise error.cause from None
        if isinstance(error.cause, ray.exceptions.RaySystemError):
            raise MascingError(
                f"a worker cannot take work: {_last_line(error)}; install the same MASCing on every node of the cluster"
            ) from error
        raise


def _died(work: str, reason: str) -> WorkerDiedError:
    return WorkerDiedError(
        f"a worker died while {work}: {reason}; it is often out of memory: lower the batch sizes or compute.workers"
    )


def _last_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[-1]
