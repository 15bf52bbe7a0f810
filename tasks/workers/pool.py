"""The actors of one run: started for the first item, replaced when they end, ended with the run."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Protocol, TypeVar

import ray

from mascing.progress import waiting_for
from mascing.prose import counted
from mascing.schemas.config import ComputeConfig, ModelConfig
from mascing.schemas.settings.engine_settings import RunEngine
from mascing.tasks.guarding.sigterm import interrupt_on_sigterm
from mascing.tasks.workers.connection import OF_THIS_PROCESS
from mascing.tasks.workers.room import Room
from mascing.tasks.workers.seats import Seat
from mascing.tasks.workers.stuck import give_up, unstarted
from mascing.tasks.workers.work_queue import WorkQueue
from mascing.tasks.workers.worker import TRANSFORMERS, Worker

_ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}

Shared = TypeVar("Shared")
Item = TypeVar("Item")
Value = TypeVar("Value")


class Queue(Protocol[Item]):
    """Iterates over (item, value) as items are done."""

    def again(self, items: Iterable[Item]) -> None:
        """Put items in front of the others."""

    def __iter__(self) -> Iterator[tuple[Item, Any]]:
        """The items that are done, with their values."""


def _one(item: Any) -> int:
    return 1


def _never(item: Any) -> bool:
    return False


class Pool:
    """Workers of one run; each loads ``model``, if given, in its ``engine`` before it takes an item.

    They run on the cluster that RAY_ADDRESS names, or on a local Ray instance. Several pools, such as one for each of
    several models, share the connection, and a local instance has room for the workers of the first one and ends with
    the last. A worker takes items once it is placed, so that one without room delays nothing, and one that finds room
    later joins in.
    """

    def __init__(
        self, compute: ComputeConfig, model: ModelConfig | None = None, engine: RunEngine = TRANSFORMERS
    ) -> None:
        self._compute = compute
        self._model = model
        self._engine = engine
        self._joined = False
        self._room = Room(compute)
        self.seats: list[Seat] = []

    def __enter__(self) -> "Pool":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        stays = OF_THIS_PROCESS.leave() if self._joined else True
        if stays:  # else the workers ended with the connection
            for seat in self.seats:
                ray.kill(seat.actor)
        self._joined, self.seats = False, []

    def queue(
        self,
        function: Callable[[Worker, Shared, Item], Value],
        shared: Shared,
        items: Iterable[Item],
        *,
        survives: Callable[[Item], bool] = _never,
        size: Callable[[Item], int] = _one,
    ) -> "Queue[Item]":
        """The items on their way through the workers, as :class:`WorkQueue` describes it."""
        self._start()
        return WorkQueue(self, function, shared, items, survives=survives, size=size)

    def map(
        self,
        function: Callable[[Worker, Shared, Item], Value],
        shared: Shared,
        items: Sequence[Item],
        progress: Callable[[int, int], None],
        size: Callable[[Item], int] = _one,
    ) -> list[Value]:
        """``function(worker, shared, item)`` for every item, in the order of ``items``.

        ``progress`` is told the ``size`` of the finished items together, and of all. Raises MascingError as an item
        raised it, and WorkerDiedError if one ended its worker again and again.
        """
        done, total = 0, sum(map(size, items))
        progress(done, total)
        if not items:
            return []
        values: dict[int, Value] = {}
        numbered = list(enumerate(items))
        queue = self.queue(partial(_of_pair, function), shared, numbered, size=lambda pair: size(pair[1]))
        for (number, item), value in queue:
            values[number] = value
            progress(done := done + size(item), total)
        return [values[number] for number in range(len(items))]

    @property
    def enough(self) -> bool:
        """Whether as many workers are there as a stage needs to begin."""
        return self._ready >= self._compute.min_workers

    def replace(self, seat: Seat) -> None:
        """Start another actor in place of one that ended."""
        ray.kill(seat.actor)  # it may be ending, or hang
        self.seats[self.seats.index(seat)] = self._seat()

    def look_after(self) -> None:
        """Say what stands in the way of the workers that are not there, and end those that hang while they start."""
        if self._joined:
            OF_THIS_PROCESS.refuse_lost()
        if not self.enough:
            self._room.look([seat.actor for seat in self.seats])
        now = time.monotonic()
        for seat in self.seats:
            if seat.ready is None and not seat.given_up and (reason := unstarted(seat, now)):
                give_up(seat, reason)

    @property
    def _ready(self) -> int:
        return sum(seat.ready is not None for seat in self.seats)

    def _start(self) -> None:
        if self.seats:
            return
        self._joined = OF_THIS_PROCESS.join(self._compute)
        if self._joined:
            interrupt_on_sigterm()
        self._room = Room(self._compute)
        self.seats = [self._seat() for _ in range(self._compute.workers)]
        # One is enough to begin with; what goes wrong is told by the queue.
        with waiting_for(f"starting {counted(len(self.seats), 'worker')}, about 10 s"):
            self._wait([seat.actor.pulse.remote() for seat in self.seats])
        if self._model is not None:
            with waiting_for("loading the model"):
                self._wait([seat.starting for seat in self.seats])

    def _wait(self, references: list[Any]) -> None:
        """Return once one of the workers has answered."""
        while not ray.wait(references, timeout=1.0)[0]:
            self.look_after()

    def _seat(self) -> Seat:
        actor = ray.remote(concurrency_groups={"pulse": 1})(Worker).options(
            num_cpus=self._compute.num_cpus,
            num_gpus=self._compute.num_gpus,
            runtime_env={"env_vars": _ONE_THREAD},
        )
        worker = actor.remote(self._compute.num_gpus)
        return Seat(worker, worker.ready.remote(self._model, self._engine))


def _of_pair(function: Callable[[Worker, Any, Any], Any], worker: Worker, shared: Any, pair: tuple[int, Any]) -> Any:
    return function(worker, shared, pair[1])
