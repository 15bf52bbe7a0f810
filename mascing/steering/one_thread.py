"""One thread at a time in a steered model: what is known of its forward would be that of another thread's."""

from threading import RLock

from mascing.errors import SteeringError


class OneThread:
    """The turn at a steered model. A thread may take it several times, and gives it back as often.

    A copy, such as that in a copy of the model, has a turn of its own.
    """

    def __init__(self) -> None:
        """Nobody has the turn."""
        self._lock = RLock()

    def take(self) -> None:
        """Take the turn; raises SteeringError at once if another thread has it."""
        if not self._lock.acquire(blocking=False):
            raise SteeringError(
                "another thread is inside this steered model, which takes one thread at a time: hold a lock around "
                "generate and forwards, or steer a copy of the model for each thread"
            )

    def give_back(self) -> None:
        """Give the turn back; only a thread that has it may."""
        self._lock.release()

    def is_elsewhere(self) -> bool:
        """Whether another thread has the turn."""
        if not self._lock.acquire(blocking=False):
            return True
        self._lock.release()
        return False

    def __enter__(self) -> None:
        self.take()

    def __exit__(self, *raised: object) -> None:
        self.give_back()

    def __reduce__(self) -> tuple[type["OneThread"], tuple[()]]:
        return OneThread, ()
