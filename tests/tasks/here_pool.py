"""A pool of one worker in this process, to run stages without Ray."""

from collections.abc import Callable, Sequence
from typing import Any

from mascing.schemas.config import ComputeConfig
from mascing.tasks.running.actors import Pool, Worker


class HerePool(Pool):
    """Runs every item at once, in the calling process."""

    def __init__(self) -> None:
        super().__init__(ComputeConfig(workers=1))
        self.worker = Worker()

    def map(
        self,
        function: Callable[..., Any],
        shared: Any,
        items: Sequence[Any],
        progress: Callable[[int, int], None],
        died: Callable[[str], Any] | None = None,
        size: Callable[[Any], int] = lambda item: 1,
    ) -> list[Any]:
        del died
        values, done, total = [], 0, sum(map(size, items))
        progress(0, total)
        for item in items:
            values.append(function(self.worker, shared, item))
            progress(done := done + size(item), total)
        return values
