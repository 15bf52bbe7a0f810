"""Traces as Parquet shards (layout: ``schemas.tables.traces_schema``).

Shapes: T token, L MoE layer, E expert, N sample.
"""

import io
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mascing.errors import DataError
from mascing.traces.trace_set import SampleTrace, TraceSet, offsets, refuse_non_logits

if TYPE_CHECKING:
    import pyarrow as pa

    from mascing.routers.spec import RouterSpec

ROW_GROUP_BYTES = 16 * 2**20

_HalfArray = np.ndarray[Any, np.dtype[np.float16]]


def encode(rows: Sequence[SampleTrace], spec: "RouterSpec") -> bytes:
    """One Parquet shard of the samples, in their order (layout: ``schemas.tables.traces_schema``).

    Every row group holds whole samples. Raises DataError for samples that cannot be raw logits of this model: a wrong
    shape or dtype, no tokens, NaN or infinity, a layer without any spread, or probabilities in place of logits.
    """
    import pyarrow as pa

    from mascing.schemas.tables import traces_schema

    assert sys.byteorder == "little"
    n_layers, n_experts = len(spec.layer_ids), spec.n_experts
    for row in rows:
        _refuse_misshapen(row, n_layers, n_experts)
    refuse_non_logits([row.z for row in rows])
    schema = traces_schema(n_layers, n_experts)
    groups = _row_groups(rows, n_layers * n_experts * 2)
    return _parquet((pa.Table.from_arrays(_columns(group, n_experts), schema=schema) for group in groups), schema)


def decode(shards: Iterable[bytes]) -> TraceSet:
    """The samples of all shards in one TraceSet, in their order.

    Holds the result and one row group at a time. Raises DataError for bytes that are no trace shard, are damaged
    (page checksums are verified), or do not agree on the number of layers and experts.
    """
    z_TLE: _HalfArray | None = None
    samples = _Samples()
    for table, n_layers, n_experts in _tables(shards):
        if z_TLE is None:
            z_TLE = np.empty((0, n_layers, n_experts), np.float16)
        if z_TLE.shape[1:] != (n_layers, n_experts):
            raise DataError(f"trace shards of different models: {z_TLE.shape[1:]} and {(n_layers, n_experts)}")
        _append_logits(z_TLE, table)
        samples.append(table)
    if z_TLE is None or not samples.ids:
        raise DataError("no traces: harvest at least one conversation")
    return samples.trace_set(z_TLE)


@dataclass
class _Samples:
    """What the tables read so far say about their samples, apart from the logits."""

    ids: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    regions: list[np.ndarray[Any, np.dtype[np.uint8]]] = field(default_factory=list)

    def append(self, table: "pa.Table") -> None:
        """Add the samples of a table; each starts at position 0."""
        firsts = np.flatnonzero(table.column("position").to_numpy() == 0)
        self.ids += table.column("conversation_id").take(firsts).to_pylist()
        self.groups += table.column("group_id").take(firsts).to_pylist()
        self.labels += table.column("label").to_numpy()[firsts].tolist()
        self.counts += np.diff(np.append(firsts, table.num_rows)).tolist()
        self.regions.append(table.column("region").to_numpy())

    def trace_set(self, z_TLE: _HalfArray) -> TraceSet:
        """The samples with their logits."""
        return TraceSet(
            z=torch.from_numpy(z_TLE),
            offsets=offsets(self.counts),
            labels=torch.tensor(self.labels, dtype=torch.long),
            regions=torch.from_numpy(np.concatenate(self.regions)),
            ids=self.ids,
            groups=self.groups,
        )


def _append_logits(z_TLE: _HalfArray, table: "pa.Table") -> None:
    """Grow the array in place (realloc) by the table's rows: a list of parts, concatenated, would hold them twice."""
    from mascing.schemas.tables import layer_column

    start, n_layers, n_experts = z_TLE.shape
    z_TLE.resize((start + table.num_rows, n_layers, n_experts), refcheck=False)
    for layer in range(n_layers):
        z_TLE[start:, layer] = _float16(table.column(layer_column(layer)), n_experts)


def _refuse_misshapen(row: SampleTrace, n_layers: int, n_experts: int) -> None:
    name = f"trace of conversation {row.conversation_id!r}"
    if row.z.ndim != 3 or tuple(row.z.shape[1:]) != (n_layers, n_experts):
        raise DataError(f"{name}: shape {list(row.z.shape)}, but the model has {n_layers} layers x {n_experts} experts")
    if row.z.dtype != torch.float16:
        raise DataError(f"{name}: {row.z.dtype} where float16 is stored")
    if row.z.shape[0] == 0 or row.regions.shape != row.z.shape[:1]:
        raise DataError(f"{name}: {row.z.shape[0]} tokens with {row.regions.numel()} regions")
    if row.label not in (0, 1):
        raise DataError(f"{name}: label {row.label} is neither 1 (positive) nor 0 (negative)")


def _row_groups(rows: Sequence[SampleTrace], token_bytes: int) -> Iterator[list[SampleTrace]]:
    group: list[SampleTrace] = []
    size = 0
    for row in rows:
        if group and size + row.z.shape[0] * token_bytes > ROW_GROUP_BYTES:
            yield group
            group, size = [], 0
        group.append(row)
        size += row.z.shape[0] * token_bytes
    if group:
        yield group


def _parquet(tables: Iterable["pa.Table"], schema: "pa.Schema") -> bytes:
    """One Parquet file with a row group per table."""
    import pyarrow.parquet as pq

    from mascing.schemas.tables import TRACES

    buffer = io.BytesIO()
    with pq.ParquetWriter(
        buffer,
        schema,
        compression="zstd",
        compression_level=1,
        use_dictionary=["conversation_id", "group_id"],
        write_statistics=list(TRACES.names),
        write_page_checksum=True,
    ) as writer:
        for table in tables:
            writer.write_table(table, row_group_size=table.num_rows)
    return buffer.getvalue()


def _columns(group: Sequence[SampleTrace], n_experts: int) -> list["pa.Array"]:
    import pyarrow as pa

    counts = np.array([row.z.shape[0] for row in group])
    # Layer by layer, so that each layer's bytes are one buffer, which Arrow takes without a copy.
    z_LTE = torch.cat([row.z.permute(1, 0, 2) for row in group], dim=1).contiguous().numpy()
    n_tokens = z_LTE.shape[1]
    return [
        pa.array(np.repeat(np.array([row.conversation_id for row in group], object), counts), pa.string()),
        pa.array(np.repeat(np.array([row.group_id for row in group], object), counts), pa.string()),
        pa.array(np.repeat(np.array([row.label for row in group], np.int8), counts)),
        pa.array(np.concatenate([np.arange(count, dtype=np.int32) for count in counts])),
        pa.array(np.concatenate([row.regions.numpy() for row in group])),
        *(pa.Array.from_buffers(pa.binary(2 * n_experts), n_tokens, [None, pa.py_buffer(z_TE)]) for z_TE in z_LTE),
    ]


def _tables(shards: Iterable[bytes]) -> Iterator[tuple["pa.Table", int, int]]:
    """Each row group as a table, with the L and E of its shard."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for number, shard in enumerate(shards):
        try:
            file = pq.ParquetFile(pa.BufferReader(shard), page_checksum_verification=True)
            n_layers, n_experts = _stored_shape(file.schema_arrow)
            for group in range(file.num_row_groups):
                yield file.read_row_group(group, use_threads=False), n_layers, n_experts
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"trace shard {number} is damaged or no Parquet file: {error}") from error


def _stored_shape(schema: "pa.Schema") -> tuple[int, int]:
    from mascing.schemas.tables import traces_schema

    metadata = schema.metadata or {}
    try:
        n_layers, n_experts = int(metadata[b"n_layers"]), int(metadata[b"n_experts"])
    except (KeyError, ValueError) as error:
        raise DataError("not a trace shard: its metadata does not give the numbers of layers and experts") from error
    if not schema.equals(traces_schema(n_layers, n_experts), check_metadata=True):
        raise DataError("not a trace shard of this version: its columns are not the expected ones")
    return n_layers, n_experts


def _float16(column: "pa.ChunkedArray", n_experts: int) -> _HalfArray:
    """A fixed-size binary column as float16 [T, E]; a view if the column is one chunk."""
    parts = [
        np.frombuffer(chunk.buffers()[1], np.float16, len(chunk) * n_experts, chunk.offset * 2 * n_experts)
        for chunk in column.chunks
    ]
    flat = parts[0] if len(parts) == 1 else np.concatenate(parts)
    return flat.reshape(-1, n_experts)
