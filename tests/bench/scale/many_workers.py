"""What the driver's queue costs a unit when many workers wait for it: processor time by the number of workers.

`python -m tests.bench.scale.many_workers` gives the queue hundreds of seats whose calls all go to a few processes that
only sleep, so that a machine without a cluster can show what a driver of one has to do.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

import ray

from mascing.tasks.workers.seats import Seat
from mascing.tasks.workers.work_queue import WorkQueue
from mascing.tasks.workers.worker import Done, Worker

_PROCESSES = 2


class Sleeping:
    """A process that answers as ``workers`` would, each of which takes one unit at a time."""

    def __init__(self, workers: int) -> None:
        self._idle = asyncio.Semaphore(workers)

    async def ready(self) -> None:
        """The process is there."""

    async def pulse(self) -> None:
        """It lives."""

    async def run(self, function: Any, shared: Sequence[Any], item: float, tags: Any) -> Done:
        """Sleep for ``item`` seconds."""
        async with self._idle:
            await asyncio.sleep(item)
        return Done(None, item)


class Seats:
    """As many seats as asked, on few processes."""

    enough = True

    def __init__(self, number: int) -> None:
        kind = ray.remote(max_concurrency=3 * number)(Sleeping)
        processes = [kind.remote(number // _PROCESSES) for _ in range(_PROCESSES)]
        ray.get([process.ready.remote() for process in processes])
        actors = [processes[place % _PROCESSES] for place in range(number)]
        self.seats = [Seat(actor, actor.ready.remote()) for actor in actors]

    def replace(self, seat: Seat) -> None:
        """No process ends here."""
        raise AssertionError

    def look_after(self) -> None:
        """Nothing stands in the way."""


def _nothing(worker: Worker, shared: None, item: float) -> None:
    """What the processes do not do."""


def measure(workers: int, rounds: int, seconds: float) -> dict[str, Any]:
    """Let each worker take ``rounds`` units of so many seconds; times are of this process, in milliseconds a unit."""
    seats, units = Seats(workers), workers * rounds
    clock, processor = time.perf_counter(), time.process_time()
    assert len(list(WorkQueue(seats, _nothing, None, [seconds] * units))) == units
    took = time.perf_counter() - clock
    return {
        "workers": workers,
        "units": units,
        "seconds_a_unit": seconds,
        "driver_ms_a_unit": round(1000 * (time.process_time() - processor) / units, 2),
        "workers_busy": round(rounds * seconds / took, 3),
    }


def main() -> None:
    """Every number of workers in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[8, 100, 400, 800])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=2.0, help="how long a unit takes on its worker")
    options = parser.parse_args()
    ray.init(num_cpus=_PROCESSES, include_dashboard=False, logging_level="ERROR")
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    for workers in options.workers:
        print(json.dumps(measure(workers, options.rounds, options.seconds)), flush=True)


if __name__ == "__main__":
    main()
