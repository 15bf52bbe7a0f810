"""A pool of one worker in this process, to run stages without Ray."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from mascing.schemas.config import ComputeConfig
from mascing.tasks.workers.pool import Pool
from mascing.tasks.workers.work_queue import Died
from mascing.tasks.workers.worker import Worker


class HerePool(Pool):
    """Runs every item at once, in the calling process."""

    def __init__(self) -> None:
        super().__init__(ComputeConfig(workers=1))
        self.worker = Worker()

    def queue(
        self,
        function: Callable[..., Any],
        shared: Any,
        items: Iterable[Any],
        *,
        survives: Callable[[Any], bool] = lambda item: False,
        size: Callable[[Any], int] = lambda item: 1,
    ) -> "HereQueue":
        del survives, size
        return HereQueue(self.result, function, shared, items)

    def result(self, function: Callable[..., Any], shared: Any, item: Any) -> Any:
        """The value of one item."""
        return function(self.worker, shared, item)


class EndsItsProcess(BaseException):
    """In place of `os._exit`, which would end the tests."""


class MortalPool(HerePool):
    """A pool whose worker ends where a real one would."""

    def result(self, function: Callable[..., Any], shared: Any, item: Any) -> Any:
        """The value of one item, or that it ended its worker."""
        try:
            return super().result(function, shared, item)
        except EndsItsProcess:
            return Died("connection error code 2")


class HereQueue:
    """The items of a :class:`HerePool` on their way."""

    def __init__(self, result: Callable[..., Any], function: Any, shared: Any, items: Iterable[Any]) -> None:
        self._result, self._function, self._shared = result, function, shared
        self._items, self._first = iter(items), deque[Any]()

    def again(self, items: Iterable[Any]) -> None:
        self._first.extend(items)

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        while True:
            self._first.extend(islice(self._items, 0 if self._first else 1))
            if not self._first:
                return
            item = self._first.popleft()
            yield item, self._result(self._function, self._shared, item)
