"""One Ray actor: a thread for the work, the model that it loaded last, and a second thread that only says it lives."""

import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import psutil
import ray

from mascing.engines.engine import ModelEngine
from mascing.engines.table import Place, make_engine
from mascing.engines.transformers_engine import TransformersEngine
from mascing.models.gpu_share import limit_gpu_memory
from mascing.models.loading import Loaded, load
from mascing.models.out_of_memory import is_out_of_memory
from mascing.schemas.config import ModelConfig
from mascing.schemas.settings.engine_settings import RunEngine
from mascing.schemas.settings.engine_settings import TransformersEngine as TransformersOptions
from mascing.tasks.workers.metrics import report_item

Value = TypeVar("Value")

# What a process cannot recover from: its CUDA context or its engine is gone, and every further call would fail.
_DEAD_ENGINE = ("CUDA error", "device-side assert", "EngineDeadError", "EngineCore encountered")


TRANSFORMERS = TransformersOptions()


@dataclass(frozen=True)
class Done:
    """The value of an item, the seconds that it took on its worker, and what the worker counted meanwhile."""

    value: Any
    seconds: float
    counts: dict[str, int] = field(default_factory=dict)


class Worker:
    """The state of one actor."""

    def __init__(self, num_gpus: float = 0) -> None:
        """Take ``num_gpus`` of the GPU's memory at most."""
        import torch

        torch.set_num_threads(1)
        limit_gpu_memory(num_gpus)
        self._num_gpus = num_gpus
        self._model: tuple[ModelConfig, Loaded] | None = None
        self._engine: tuple[ModelConfig, RunEngine, ModelEngine] | None = None
        self._budgets: dict[str, int] = {}
        self._counts: Counter[str] = Counter()
        self._shared: tuple[Any, Any] = (None, None)
        self._ended: float | None = None
        self._thread = 0

    @ray.method(concurrency_group="pulse")
    def pulse(self) -> float:
        """The CPU seconds of the thread that runs the items, at once, whatever it runs: a stopped process is silent."""
        threads = {thread.id: thread for thread in psutil.Process().threads()}
        thread = threads.get(self._thread)
        return thread.user_time + thread.system_time if thread else 0.0

    def ready(self, config: ModelConfig | None = None, engine: RunEngine = TRANSFORMERS) -> None:
        """Return as soon as the actor is placed and started, and the model loaded in its engine if one is named."""
        if config is not None:
            self.engine(config, engine)

    def run(
        self,
        function: Callable[["Worker", Any, Any], Any],
        shared: Sequence[Any],
        item: Any,
        tags: Mapping[str, str],
    ) -> Done:
        """Apply ``function`` to what all items share, of which ``shared`` holds the reference, and to one item.

        ``tags`` name stage and run in metrics and logs. A process whose engine is dead ends, so that another one takes
        its place.
        """
        started = time.monotonic()
        self._thread = threading.get_native_id()
        self._counts = Counter()
        try:
            value = function(self, self._common(*shared), item)
        except Exception as error:
            _log(tags, item, error=f"{type(error).__name__}: {error}")
            if any(sign in f"{type(error).__name__}: {error}" for sign in _DEAD_ENGINE):
                os._exit(1)
            raise
        done = Done(value, time.monotonic() - started, dict(self._counts))
        report_item(tags, done.seconds, started - (self._ended or started), done.counts)
        _log(tags, item, seconds=round(done.seconds, 3), **done.counts)
        self._ended = time.monotonic()
        return done

    def _common(self, reference: Any) -> Any:
        """What the items share, unpacked once: an open storage among it keeps its connections."""
        if self._shared[0] != reference:
            self._shared = (reference, ray.get(reference))
        return self._shared[1]

    def model(self, config: ModelConfig) -> Loaded:
        """The model of ``config``, loaded only if it is not the one in memory."""
        if self._model is None or self._model[0] != config:
            self._model = None
            self._model = (config, load(config))
        return self._model[1]

    def engine(self, config: ModelConfig, engine: RunEngine = TRANSFORMERS) -> ModelEngine:
        """The engine that runs the model of ``config``, started only if it is not the one in memory.

        What `transformers` loads is :meth:`model`; another engine holds weights of its own, and neither ends the other.
        """
        if isinstance(engine, TransformersOptions):
            return TransformersEngine(self.model(config))
        if self._engine is None or self._engine[:2] != (config, engine):
            self._engine = None
            made = make_engine(engine, Place(model=config, num_gpus=self._num_gpus))
            self._engine = config, engine, cast(ModelEngine, made)
        return self._engine[2]

    def count(self, name: str, number: int) -> None:
        """Count something of the running item, such as its tokens, for the summary of the stage."""
        self._counts[name] += number

    def count_batch(self, tokens: int, padding: int) -> None:
        """Count the tokens of a batch: those that are real, and the padding beside them."""
        self.count("tokens", tokens)
        self.count("padding", padding)

    def within_memory(self, name: str, budget: int, run: Callable[[int], Value]) -> Value:
        """``run(budget)``, again with half the budget each time that memory runs out.

        The worker remembers what fits, by ``name``. Raises the error if memory does not even suffice for a budget of 1.
        """
        budget = min(budget, self._budgets.get(name, budget))
        while True:
            try:
                value = run(budget)
                self._budgets[name] = budget
                return value
            except (RuntimeError, MemoryError) as error:
                if budget <= 1 or not is_out_of_memory(error):
                    raise
            budget //= 2
            self.count("out_of_memory", 1)
            _free()


def _log(tags: Mapping[str, str], item: Any, **facts: Any) -> None:
    """A line of JSON in the worker's log, which Ray keeps by node: who did what, and how it went."""
    actor = ray.get_runtime_context().get_actor_id() if ray.is_initialized() else None
    line = {"time": time.time(), **tags, "actor": actor, "unit": getattr(item, "name", type(item).__name__), **facts}
    sys.stderr.write(f"{json.dumps(line, default=str)}\n")


def _free() -> None:
    """Give the memory of a failed attempt back. Call it outside the handler, whose traceback holds the tensors."""
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
