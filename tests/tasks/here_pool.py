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
    ) -> list[Any]:
        del progress, died
        return [function(self.worker, shared, item) for item in items]
