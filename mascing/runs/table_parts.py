"""Tables that stages leave in parts, so that neither who writes a table nor who reads it holds all of its rows."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate, chain
from tempfile import NamedTemporaryFile
from typing import IO, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mascing.schemas.manifest import Manifest, Shard
from mascing.storage import parquet
from mascing.storage.manifests import StageOutput, read_stored
from mascing.storage.object_storage import Storage

PART_ROWS = 1024
"""Rows of a part: about a megabyte of conversations."""

# Parts that a process keeps for the next rows: those of one unit mostly lie in one part, or beside each other.
_KEPT_PARTS = 4

# Copies on the disk of a worker: it learns from one split at a time.
_COPIES = 2

Positions = range | NDArray[np.int64]
"""Positions of rows in a table, in any order."""


def put_parts(output: StageOutput[Any], prefix: str, tables: Iterable[pa.Table]) -> list[Shard]:
    """Store the rows of ``tables``, in their order, in parts as `PartWriter` does; no rows are one empty part."""
    writer = PartWriter(output, prefix)
    for table in tables:
        writer.add(table)
    return writer.close()


class PartWriter:
    """Stores the rows that are added, in their order, as ``<prefix>000000.parquet`` ..., of PART_ROWS rows each."""

    def __init__(self, output: StageOutput[Any], prefix: str) -> None:
        self._output, self._prefix = output, prefix
        self._waiting: list[pa.Table] = []
        self._shards: list[Shard] = []

    def add(self, table: pa.Table) -> None:
        """Add rows; each part is stored once it is full."""
        self._waiting.append(table)
        if sum(map(len, self._waiting)) < PART_ROWS:
            return
        rows = pa.concat_tables(self._waiting)
        whole = len(rows) - len(rows) % PART_ROWS
        for start in range(0, whole, PART_ROWS):
            self._put(rows.slice(start, PART_ROWS))
        # A copy: a slice would keep all rows in memory.
        self._waiting = [rows.slice(whole).take(np.arange(len(rows) - whole))]

    def close(self) -> list[Shard]:
        """Store the last part; the parts. Call it after at least one table was added."""
        rest = pa.concat_tables(self._waiting)
        if len(rest) or not self._shards:
            self._put(rest)
        self._waiting = []
        return self._shards

    def _put(self, rows: pa.Table) -> None:
        name = f"{self._prefix}{len(self._shards):06d}.parquet"
        self._shards.append(self._output.put(name, parquet.to_bytes(rows.combine_chunks()), len(rows)))


class StoredTable:
    """A table of a finished stage, whose parts are read when they are asked for; workers can receive it."""

    def __init__(self, storage: Storage, manifest: Manifest, prefix: str) -> None:
        """The parts whose names begin with ``prefix``; nothing is read yet."""
        self._storage, self._folder = storage, manifest.prefix
        self._parts = [shard for shard in manifest.shards if shard.name.startswith(prefix)]
        self._ends = np.array([*accumulate(shard.rows for shard in self._parts)], dtype=np.int64)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def parts(self) -> Iterator[pa.Table]:
        """All rows in their order, part by part. Raises StorageError if a part is missing or damaged."""
        return (_part(self._storage, self._folder, shard) for shard in self._parts)

    def rows(self) -> Iterator[dict[str, Any]]:
        """All rows in their order as dicts; those of one part are in memory."""
        return (row for part in self.parts() for row in part.to_pylist())

    def ranges(self) -> Iterator[tuple[Shard, range]]:
        """Each part, and where its rows are in the table."""
        return ((part, range(end - part.rows, end)) for part, end in zip(self._parts, self._ends.tolist(), strict=True))

    def take(self, positions: Positions | Sequence[int]) -> pa.Table:
        """The rows at ``positions``, in that order; errors as for :meth:`parts`."""
        return taken(positions, self._ends, lambda number: _part(self._storage, self._folder, self._parts[number]))

    def here(self) -> "LocalTable":
        """A copy on the local disk, which this process makes once; errors as for :meth:`parts`."""
        return _copied(self._storage, self._folder, tuple(self._parts))


class LocalTable:
    """Rows in a file of this process, of which each is read without those around it; it is gone with the process."""

    def __init__(self, parts: Iterable[pa.Table]) -> None:
        with NamedTemporaryFile() as file:
            rows = self._written(file, parts)
            # The mapping stays when the name is gone.
            self._file = pa.ipc.open_file(pa.memory_map(file.name))
        self._ends = np.cumsum(rows, dtype=np.int64)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def take(self, positions: Positions | Sequence[int]) -> pa.Table:
        """The rows at ``positions``, in that order."""
        return taken(positions, self._ends, lambda number: pa.Table.from_batches([self._file.get_batch(number)]))

    @staticmethod
    def _written(file: IO[bytes], parts: Iterable[pa.Table]) -> list[int]:
        """The number of rows of each batch that was written."""
        batches = (batch for part in parts for batch in part.combine_chunks().to_batches() or _no_rows(part))
        first = next(batches)
        rows = []
        with pa.ipc.new_file(file, first.schema) as writer:
            for batch in chain([first], batches):
                writer.write_batch(batch)
                rows.append(len(batch))
        file.flush()
        return rows


def _no_rows(part: pa.Table) -> list[pa.RecordBatch]:
    return [pa.RecordBatch.from_pylist([], schema=part.schema)]


def taken(positions: Positions | Sequence[int], ends: NDArray[np.int64], part: Callable[[int], pa.Table]) -> pa.Table:
    """The rows at ``positions``, in that order, of a table of at least one part.

    ``ends`` are the positions after the last row of each part; ``part`` reads the part of a number, at most once.
    """
    places = np.asarray(positions, dtype=np.int64)
    of_part = np.searchsorted(ends, places, side="right")
    found, order = [], []
    for number in np.unique(of_part).tolist() if len(places) else [0]:
        there = np.flatnonzero(of_part == number)
        rows = part(number)
        found.append(rows.take(places[there] - (ends[number] - len(rows))))
        order.append(there)
    return pa.concat_tables(found).take(np.argsort(np.concatenate(order)))


@lru_cache(maxsize=_COPIES)
def _copied(storage: Storage, folder: str, parts: tuple[Shard, ...]) -> LocalTable:
    return LocalTable(_part(storage, folder, shard) for shard in parts)


@lru_cache(maxsize=_KEPT_PARTS)
def _part(storage: Storage, folder: str, shard: Shard) -> pa.Table:
    place = storage.locate(shard.path or f"{folder}/{shard.name}")
    return parquet.table_of(read_stored(storage, folder, shard), place)
