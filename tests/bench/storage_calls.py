"""How long the calls of a storage take: creating, reading and listing objects, and what seals add to a table.

``python -m tests.bench.storage_calls URL`` stores 10,000 objects of 2 KB under a prefix of its own, and removes them.
"""

import argparse
import io
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from mascing.storage import parquet
from mascing.storage.object_storage import Storage

OBJECTS, SINGLE, TURNS, THREADS = 10_000, 100, 5, 16
SMALL, LARGE = os.urandom(2_000), os.urandom(32 * 2**20)


def main() -> None:
    """Read the command line and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="a local folder or s3://bucket/prefix")
    storage = Storage.open(f"{parser.parse_args().url}/bench-{uuid4().hex}")
    names = [f"units/{number:05}" for number in range(OBJECTS)]
    print(f"create one, then the next: {1000 * _mean(lambda name: storage.create(name, SMALL), names[:SINGLE]):.1f} ms")
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda name: storage.create(name, SMALL), names[SINGLE:]))
        print(f"read one, then the next:   {1000 * _mean(storage.read, names[:SINGLE]):.1f} ms")
        listed = [_seconds(lambda: storage.list("units")) for _ in range(TURNS)]
        assert storage.list("units") == names
        print(f"list {OBJECTS:,}:               {_told(listed)} s")
        list(pool.map(storage.remove, names))
    table = pa.table({"bytes": pa.array([LARGE[start : start + 2**16] for start in range(0, len(LARGE), 2**16)])})
    data = parquet.to_bytes(table)
    written = [_ratio(lambda: parquet.to_bytes(table), lambda: _unsealed(table)) for _ in range(TURNS)]
    read = [_ratio(lambda: parquet.from_bytes(data), lambda: parquet.table_of(data)) for _ in range(TURNS)]
    print(f"write a table of 32 MiB, sealed / without a seal: {_told(written)}")
    print(f"read a table of 32 MiB, sealed / without a seal:  {_told(read)}")


def _unsealed(table: pa.Table) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file, compression="zstd", write_page_checksum=True)
    return file.getvalue()


def _mean(call: Callable[[str], object], names: list[str]) -> float:
    return _seconds(lambda: [call(name) for name in names]) / len(names)


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _ratio(call: Callable[[], object], other: Callable[[], object]) -> float:
    return _seconds(call) / _seconds(other)


def _told(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({len(values)} turns from {min(values):.2f} to {max(values):.2f})"


if __name__ == "__main__":
    main()
