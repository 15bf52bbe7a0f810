"""Read from places that may never answer: no server waits for them for ever, neither while it serves nor at its end."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from mascing.errors import StorageError

SECONDS = 30.0
"""How long a read may take, waiting for the one before it included."""

T = TypeVar("T")


class LimitedReads:
    """Reads one after the other, each in a thread of its own and with a limit of time.

    Nothing ends a thread that waits for a disk, so one whose read takes longer is left behind. It is a daemon: the end
    of the process does not wait for it, as it would for those of ``asyncio.to_thread``.
    """

    def __init__(self) -> None:
        self._one_at_a_time = asyncio.Lock()
        self._late: list[Future[object]] = []

    @property
    def hanging(self) -> int:
        """How many reads that were given up have not returned yet."""
        self._late = [read for read in self._late if not read.done()]
        return len(self._late)

    async def read(self, work: Callable[[], T]) -> T:
        """What ``work`` returns or raises. Raises StorageError once the time is over."""
        begun: Future[T] | None = None
        try:
            async with asyncio.timeout(SECONDS) as limit, self._one_at_a_time:
                begun = _begun(work)
                return await asyncio.wrap_future(begun)
        except TimeoutError as error:
            if not limit.expired():  # it is an error of the work
                raise
            if begun is not None:
                self._late.append(begun)  # type: ignore[arg-type]
            raise StorageError(f"there was no answer within {SECONDS:g} seconds") from error


def _begun(work: Callable[[], T]) -> Future[T]:
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()  # who gives up waiting for it cannot cancel it

    def run() -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001  # whoever waits gets it
            future.set_exception(error)
        else:
            future.set_result(result)

    threading.Thread(target=run, name="read", daemon=True).start()
    return future
