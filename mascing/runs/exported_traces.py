"""Copies of stored traces as files for other tools; every file is written whole, and none replaces another."""

import json
from collections.abc import Callable, Iterator
from pathlib import PurePath
from typing import Literal

from safetensors.torch import save

from mascing.errors import ConflictError, DataError
from mascing.runs.run_traces import RunTraces
from mascing.storage.object_storage import Storage
from mascing.traces.selection_counts import count_files
from mascing.traces.shard_files import ShardFile, read_groups

Format = Literal["parquet", "safetensors", "counts"]


def export(traces: RunTraces, folder: Storage, form: Format) -> Iterator[tuple[str, bool]]:
    """Write the traces file by file; yield the name of each, and whether it was written, as it was not there already.

    ``parquet`` copies the shards, after their SHA-256 was checked. ``safetensors`` has for each shard the tensors of a
    TraceSet, and in its metadata the layout and, as JSON, ``ids`` and ``groups``. ``counts`` has a CSV for each class
    and span. Raises DataError if other content has such a name, and StorageError for a damaged shard.
    """
    for name, content in _FILES[form](traces):
        missing = not folder.exists(name)
        try:
            folder.create(name, content)
        except ConflictError:
            raise DataError(f"{folder.url} holds other traces ({name} differs): choose another folder") from None
        yield name, missing


def _copies(traces: RunTraces) -> Iterator[tuple[str, bytes]]:
    for name, content in traces.shards():
        yield name, content if isinstance(content, bytes) else content.read_bytes()


def _tensors(traces: RunTraces) -> Iterator[tuple[str, bytes]]:
    for name, content in traces.shards():
        file = ShardFile(content, name)
        part = read_groups([(file, group) for group in range(len(file.rows))])
        tensors = {key: getattr(part, key) for key in ("z", "selected", "offsets", "labels", "regions")}
        said = file.layout.metadata() | {"ids": json.dumps(part.ids), "groups": json.dumps(part.groups)}
        yield f"{PurePath(name).stem}.safetensors", save(tensors, said)


def _counts(traces: RunTraces) -> Iterator[tuple[str, bytes]]:
    yield from count_files(traces.statistics(), traces.depths)


_FILES: dict[Format, Callable[[RunTraces], Iterator[tuple[str, bytes]]]] = {
    "parquet": _copies,
    "safetensors": _tensors,
    "counts": _counts,
}
