"""One scheduled run at a time, by a lease on the storage.

A concurrency limit of Prefect would do the same until a worker dies: its run would hold the slot, and the run that
could release it would never start.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from mascing.storage.lease import Holder, Lease
from mascing.storage.object_storage import Storage

_MOST_SECONDS_WATCHED = 25.0


class _HeldError(Exception):
    def __init__(self, holder: Holder) -> None:
        self.holder = holder


@contextmanager
def one_at_a_time(storage: Storage, name: str) -> Iterator[Holder | None]:
    """Hold the lease ``name`` while the block runs; give who holds it instead, if that one lives."""
    beats: list[int] = []

    def living(holder: Holder) -> None:
        beats.append(holder.beats)
        if beats[-1] > beats[0]:
            raise _HeldError(holder)

    with ExitStack() as held:
        try:
            held.enter_context(Lease.hold(storage, name, living))
        except _HeldError as error:
            yield error.holder
            return
        yield None
