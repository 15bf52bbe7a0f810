"""A small pool of Ray actors: each worker has one thread and keeps the model that it loaded last."""

import signal
import threading
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, TypeVar

import ray
import ray.exceptions

from mascing.errors import MascingError
from mascing.models.loading import Loaded, load
from mascing.progress import waiting_for
from mascing.prose import counted
from mascing.schemas.config import ComputeConfig, ModelConfig
from mascing.tasks.running.cluster import Cluster, connect, connecting

# How often Ray retries an item after its worker died. Workers restart without limit, items do not: an item that kills
# every worker must end the run instead of looping.
ITEM_RETRIES = 3
ROW_RETRIES = 1

_ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}

Shared = TypeVar("Shared")
Item = TypeVar("Item")
Value = TypeVar("Value")


class WorkerDiedError(MascingError):
    """A worker process ended while it ran an item, again and again."""


class Worker:
    """The state of one actor: one thread and one loaded model."""

    def __init__(self) -> None:
        import torch

        torch.set_num_threads(1)
        self._model: tuple[ModelConfig, Loaded] | None = None

    def ready(self, config: ModelConfig | None = None) -> None:
        """Return as soon as the actor is placed and started, and the model loaded if one is named."""
        if config is not None:
            self.model(config)

    def run(self, function: Callable[["Worker", Any, Any], Any], shared: Any, item: Any) -> Any:
        """Apply ``function`` to one item."""
        return function(self, shared, item)

    @ray.method(max_task_retries=ROW_RETRIES)
    def run_rows(self, function: Callable[["Worker", Any, Any], Any], shared: Any, item: Any) -> Any:
        """`run` for an item of rows; one that kills the worker is halved by the caller rather than tried for long."""
        return function(self, shared, item)

    def model(self, config: ModelConfig) -> Loaded:
        """The model of ``config``, loaded only if it is not the one in memory."""
        if self._model is None or self._model[0] != config:
            self._model = None
            self._model = (config, load(config))
        return self._model[1]


def _one(item: Any) -> int:
    return 1


class Pool:
    """Workers of one run, started for the first item; each loads ``model``, if given, before it takes an item.

    They run on the cluster that RAY_ADDRESS names, or on a local Ray instance that ends with the pool.
    """

    def __init__(self, compute: ComputeConfig, model: ModelConfig | None = None) -> None:
        self._compute = compute
        self._model = model
        self._workers: list[Any] = []
        self._cluster: Cluster | None = None

    def __enter__(self) -> "Pool":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._cluster is not None:
            self._cluster.close()
            self._cluster = None
        else:
            for worker in self._workers:
                ray.kill(worker)
        self._workers = []

    def map(
        self,
        function: Callable[[Worker, Shared, Item], Value],
        shared: Shared,
        items: Sequence[Item],
        progress: Callable[[int, int], None],
        died: Callable[[str], Any] | None = None,
        size: Callable[[Item], int] = _one,
    ) -> list[Any]:
        """``function(worker, shared, item)`` for every item, in the order of ``items``.

        A worker takes one item at a time. The result of an item must not depend on the worker that takes it.
        ``progress`` is told the ``size`` of the finished items together, and of all. With
        ``died``, an item that lost its worker more than ROW_RETRIES times has the value ``died(reason)``.

        Raises:
            MascingError: as an item raised it; or, without ``died``, if one lost its worker more than ITEM_RETRIES
                times.
        """
        self._start()
        values: dict[int, Any] = {}
        waiting = deque(range(len(items)))
        common = ray.put(shared)
        # A worker takes items only once it is placed, so a worker without room on the cluster delays nothing.
        busy: dict[Any, tuple[Any, int | None]] = {
            worker.ready.remote(self._model): (worker, None) for worker in self._workers
        }
        done, total = 0, sum(map(size, items))
        progress(done, total)
        while len(values) < len(items):
            [finished], _ = ray.wait(list(busy), num_returns=1)
            worker, index = busy.pop(finished)
            try:
                value = _fetch(finished, index, ITEM_RETRIES if died is None else ROW_RETRIES)
            except WorkerDiedError as error:
                if died is None or index is None:
                    raise
                value = died(str(error))
            if index is not None:
                values[index] = value
                done += size(items[index])
                progress(done, total)
            if waiting:
                index = waiting.popleft()
                run = worker.run if died is None else worker.run_rows
                busy[run.remote(function, common, items[index])] = (worker, index)
        return [values[index] for index in range(len(items))]

    def _start(self) -> None:
        if self._workers:
            return
        if not ray.is_initialized():
            with waiting_for(connecting()):
                self._cluster = connect(self._compute)
            interrupt_on_sigterm()
        actor = ray.remote(Worker).options(
            num_cpus=self._compute.num_cpus,
            num_gpus=self._compute.num_gpus,
            max_restarts=-1,
            max_task_retries=ITEM_RETRIES,
            runtime_env={"env_vars": _ONE_THREAD},
        )
        self._workers = [actor.remote() for _ in range(self._compute.workers)]
        # One is enough to begin with; what goes wrong is told by `map`.
        with waiting_for(f"starting {counted(len(self._workers), 'worker')}, about 10 s"):
            ray.wait([worker.ready.remote() for worker in self._workers])
        if self._model is not None:
            with waiting_for("loading the model"):
                ray.wait([worker.ready.remote(self._model) for worker in self._workers])


def interrupt_on_sigterm() -> None:
    """Make SIGTERM stop a run and all its processes, by the handler of Ctrl-C unless that one is ignored.

    The handlers of Ray and Prefect do not: the first ends this process at once, the second raises an exception that
    Ray's calls cannot pass on.
    """
    if threading.current_thread() is threading.main_thread():
        handler = signal.getsignal(signal.SIGINT)
        signal.signal(signal.SIGTERM, handler if callable(handler) else signal.default_int_handler)


def _fetch(reference: Any, index: int | None, retries: int) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, MascingError):
            raise error.cause from None
        if isinstance(error.cause, ray.exceptions.RaySystemError):
            raise MascingError(
                f"a worker cannot take work: {_last_line(error)}; install the same MASCing on every node of the cluster"
            ) from error
        raise
    except ray.exceptions.RayError as error:
        work = "starting up" if index is None else f"running item {index}, {retries + 1} times"
        raise WorkerDiedError(
            f"a worker died while {work}: {_first_line(error)}; it is often out of memory: lower the batch sizes or "
            "compute.workers"
        ) from error


def _last_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[-1]


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
