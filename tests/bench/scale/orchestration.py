"""What the orchestration of 10,000 units of 100 rows costs, with a stub in place of the model.

`python -m tests.bench.scale.orchestration` prints a JSON object a measurement: milliseconds a unit, driver memory,
and how long a second start takes to see what is left. Each runs in a process of its own.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import ray

from mascing.schemas.config import ComputeConfig
from mascing.schemas.manifest import Shard
from mascing.storage.manifests import shard_at
from mascing.storage.object_storage import Storage
from mascing.tasks.running.bisection import SetAside
from mascing.tasks.running.units import Kind, run_units
from mascing.tasks.workers.pool import Pool
from mascing.tasks.workers.worker import Worker
from tests.fixtures_s3 import served

ROWS = 100
_BYTES = 2048


@dataclass(frozen=True)
class Range:
    """Rows of a part of the conversations, as a collection hands them out."""

    path: str
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def part(self, start: int, stop: int) -> "Range":
        """These rows alone."""
        return Range(self.path, self.start + start, self.start + stop)


def make(worker: Worker, shared: None, unit: Range, set_aside: SetAside) -> bytes:
    """Bytes that only this unit has."""
    worker.count("tokens", len(unit))
    return f"{unit.start}-{unit.stop}".encode().ljust(_BYTES, b".")


def read(worker: Worker, shared: None, unit: Range, data: bytes, set_aside: SetAside) -> Shard:
    """The unit's entry in a manifest."""
    return shard_at(unit.path, data, len(unit))


def measure(storage: Storage, folder: str, units: int, workers: int, half: bool) -> dict[str, Any]:
    """Run the units, or one half of them; the memory is that of this process at its peak, in MB."""
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    ranges = [Range(f"{folder}/{number:06d}", number * ROWS, (number + 1) * ROWS) for number in range(units)]
    asked = ranges[: units // 2] if half else ranges
    with Pool(ComputeConfig(workers=workers)) as pool:
        pool.map(_nothing, None, range(4 * workers), lambda done, total: None)
        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
        started, first = time.monotonic(), 0.0
        shards: list[Shard] = []
        for _, shard in run_units(pool, storage, Kind(make, read), None, asked, lambda done, total: None):
            first = first or time.monotonic() - started
            shards.append(shard)
        seconds = time.monotonic() - started
    return {
        "units": len(asked),
        "rows": sum(shard.rows for shard in shards),
        "workers": workers,
        "ms_a_unit": round(1000 * seconds / len(asked), 2),
        "seconds_to_decide": round(first, 2),
        "manifest_mb": round(sum(len(shard.model_dump_json()) for shard in shards) / 1e6, 2),
        "driver_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def _nothing(worker: Worker, shared: None, item: int) -> None:
    """The workers are there."""


def main() -> None:
    """All measurements, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--s3", action="store_true", help="on a local SeaweedFS, not on the local disk")
    parser.add_argument("--storage", help=argparse.SUPPRESS)
    parser.add_argument("--units", type=int, default=10_000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--one", nargs=3, metavar=("FOLDER", "UNITS", "WORKERS"), help=argparse.SUPPRESS)
    parser.add_argument("--half", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        folder, units, workers = options.one
        found = measure(Storage.open(options.storage), folder, int(units), int(workers), options.half)
        print(json.dumps(found), flush=True)
        return
    with ExitStack() as stack:
        here = stack.enter_context(tempfile.TemporaryDirectory())
        storage = stack.enter_context(served(Path(here, "s3"))) if options.s3 else here
        for workers in options.workers:
            folder = f"scale-{uuid4().hex}"
            _alone(storage, "few units", folder + "-few", options.units // 100, workers)
            _alone(storage, "half of the units", folder, options.units, workers, "--half")
            _alone(storage, "the other half, after a new start", folder, options.units, workers)


def _alone(storage: str, what: str, folder: str, units: int, workers: int, *more: str) -> None:
    command = [sys.executable, "-m", "tests.bench.scale.orchestration", "--storage", storage, "--one", folder]
    done = subprocess.run([*command, str(units), str(workers), *more], capture_output=True, text=True, check=True)
    print(json.dumps({"what": what, **json.loads(done.stdout.splitlines()[-1])}), flush=True)


if __name__ == "__main__":
    main()
