"""A driver of one stage of many units: `python -m tests.torture.drivers.unit_driver STORAGE JOURNAL`."""

import os
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import ray

from mascing.schemas.config import ComputeConfig
from mascing.schemas.manifest import Shard
from mascing.storage import lease
from mascing.storage.manifests import StageOutput, shard_at
from mascing.storage.object_storage import Storage
from mascing.tasks.running.bisection import SetAside
from mascing.tasks.running.stage import Body, Recipe, run_stage
from mascing.tasks.running.units import Kind, run_units
from mascing.tasks.workers.pool import Pool
from mascing.tasks.workers.worker import Worker
from tests.mascing.storage.noted_stage import Noted, NotedFacts

UNITS = 60
WORKERS = 2
_SECONDS = 0.15


@dataclass(frozen=True)
class Row:
    """A unit of one row."""

    number: int

    @property
    def path(self) -> str:
        """Where it is stored."""
        return f"traces/units/{self.number:03d}"

    def __len__(self) -> int:
        return 1

    def part(self, start: int, stop: int) -> "Row":
        """It has no parts."""
        raise AssertionError


def make(worker: Worker, journal: str, row: Row, set_aside: SetAside) -> bytes:
    """Say in the journal that the unit is begun, and take a while."""
    descriptor = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{row.number}\n".encode())
    os.close(descriptor)
    time.sleep(_SECONDS)
    return f"{row.number}".encode()


def read(worker: Worker, journal: str, row: Row, data: bytes, set_aside: SetAside) -> Shard:
    """The unit's entry in the manifest."""
    return shard_at(row.path, data, 1)


def main() -> None:
    """Run the stage, and say so."""
    url, journal = sys.argv[1:]
    vars(lease)["Pace"] = partial(lease.Pace, beat=0.5, patience=6.0)  # so that a paused driver is soon given up
    storage, rows = Storage.open(url), [Row(number) for number in range(UNITS)]
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    with Pool(ComputeConfig(workers=WORKERS)) as pool:

        def body(output: StageOutput[Noted]) -> Body:
            made = dict(run_units(pool, storage, Kind(make, read), journal, rows, lambda done, total: None))
            return Body([made[row] for row in rows], NotedFacts(content="all"), rows_in=UNITS)

        finished = run_stage(storage, Recipe(Noted, "units", {}), body)
    Path(f"{journal}.{os.getpid()}").write_text("reused" if finished.reused else "made")
    print(f"{len(finished.manifest.shards)} units", flush=True)


if __name__ == "__main__":
    main()
