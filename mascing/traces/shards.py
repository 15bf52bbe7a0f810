"""Traces as Parquet shards (layout: ``schemas.tables.traces_schema``).

Shapes: T token, L MoE layer, E expert, K selected expert, N sample.
"""

import io
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mascing.errors import DataError
from mascing.storage.sealing import UNSEALED, seal
from mascing.traces.trace_set import SampleTrace, TraceSet, offsets, refuse_non_logits, selection_dtype

if TYPE_CHECKING:
    import pyarrow as pa

    from mascing.routers.spec import RouterSpec

ROW_GROUP_BYTES = 16 * 2**20

_Array = np.ndarray[Any, np.dtype[Any]]


def encode(rows: Sequence[SampleTrace], spec: "RouterSpec") -> bytes:
    """One Parquet shard of the samples, in their order (layout: ``schemas.tables.traces_schema``).

    Every row group holds whole samples. Raises DataError for samples that cannot be traces of this model: a wrong shape
    or dtype, no tokens, NaN or infinity, a layer without any spread, or probabilities in place of logits.
    """
    import pyarrow as pa

    from mascing.schemas.tables import traces_schema

    assert sys.byteorder == "little"
    for row in rows:
        _refuse_misshapen(row, spec)
    refuse_non_logits([row.z for row in rows])
    schema = traces_schema(spec.n_layers, spec.n_experts, spec.top_k)
    groups = _row_groups(rows, spec.n_layers * spec.n_experts * 2)
    return _parquet((pa.Table.from_arrays(_columns(group), schema=schema) for group in groups), schema)


def decode(shards: Iterable[bytes]) -> TraceSet:
    """The samples of all shards in one TraceSet, in their order.

    Holds the result and one row group at a time. Raises DataError for bytes that are no trace shard, are damaged
    (page checksums are verified), do not agree on the numbers of layers and experts, or hold no selections.
    """
    samples: _Samples | None = None
    for table, shape in _tables(shards):
        samples = samples or _Samples(shape)
        if shape != samples.shape:
            raise DataError(f"trace shards of different models: layers, experts and top-k {samples.shape} and {shape}")
        samples.append(table)
    if samples is None or not samples.ids:
        raise DataError("no traces: harvest at least one conversation")
    return samples.trace_set()


class _Samples:
    """The samples of the tables read so far, all of one ``shape`` (L, E, K)."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        n_layers, n_experts, top_k = self.shape = shape
        self.ids: list[str] = []
        self._z_TLE: _Array = np.empty((0, n_layers, n_experts), np.float16)
        self._selected_TLK: _Array = np.empty((0, n_layers, top_k), _selection_type(n_experts))
        self._groups: list[str] = []
        self._labels: list[int] = []
        self._counts: list[int] = []
        self._regions: list[_Array] = []

    def append(self, table: "pa.Table") -> None:
        """Add the samples of a table; each starts at position 0."""
        _append_logits(self._z_TLE, table)
        _append_selected(self._selected_TLK, table)
        firsts = np.flatnonzero(table.column("position").to_numpy() == 0)
        self.ids += table.column("conversation_id").take(firsts).to_pylist()
        self._groups += table.column("group_id").take(firsts).to_pylist()
        self._labels += table.column("label").to_numpy()[firsts].tolist()
        self._counts += np.diff(np.append(firsts, table.num_rows)).tolist()
        self._regions.append(table.column("region").to_numpy())

    def trace_set(self) -> TraceSet:
        """All of them."""
        return TraceSet(
            z=torch.from_numpy(self._z_TLE),
            offsets=offsets(self._counts),
            labels=torch.tensor(self._labels, dtype=torch.long),
            regions=torch.from_numpy(np.concatenate(self._regions)),
            ids=self.ids,
            groups=self._groups,
            selected=torch.from_numpy(self._selected_TLK),
        )


def _append_logits(z_TLE: _Array, table: "pa.Table") -> None:
    """Grow the array in place (realloc) by the table's rows: a list of parts, concatenated, would hold them twice."""
    from mascing.schemas.tables import layer_column

    start, n_layers, n_experts = z_TLE.shape
    z_TLE.resize((start + table.num_rows, n_layers, n_experts), refcheck=False)
    for layer in range(n_layers):
        z_TLE[start:, layer] = _values(table.column(layer_column(layer)), z_TLE.dtype, n_experts)


def _append_selected(selected_TLK: _Array, table: "pa.Table") -> None:
    """Grow the array in place by the table's rows, as for the logits."""
    from mascing.schemas.tables import SELECTED

    start, n_layers, top_k = selected_TLK.shape
    selected_TLK.resize((start + table.num_rows, n_layers, top_k), refcheck=False)
    flat = _values(table.column(SELECTED), selected_TLK.dtype, n_layers * top_k)
    selected_TLK[start:] = flat.reshape(-1, n_layers, top_k)


def _refuse_misshapen(row: SampleTrace, spec: "RouterSpec") -> None:
    name = f"trace of conversation {row.conversation_id!r}"
    if row.z.ndim != 3 or tuple(row.z.shape[1:]) != (spec.n_layers, spec.n_experts):
        raise DataError(
            f"{name}: shape {list(row.z.shape)}, but the model has {spec.n_layers} layers x {spec.n_experts} experts"
        )
    if row.z.dtype != torch.float16:
        raise DataError(f"{name}: {row.z.dtype} where float16 is stored")
    if row.z.shape[0] == 0 or row.regions.shape != row.z.shape[:1]:
        raise DataError(f"{name}: {row.z.shape[0]} tokens with {row.regions.numel()} regions")
    if row.selected.shape != (len(row.z), spec.n_layers, spec.top_k):
        raise DataError(
            f"{name}: selections of shape {list(row.selected.shape)}, but each of its {len(row.z)} tokens selects "
            f"{spec.top_k} experts in {spec.n_layers} layers"
        )
    if row.selected.dtype != selection_dtype(spec.n_experts):
        raise DataError(f"{name}: selections as {row.selected.dtype} where {selection_dtype(spec.n_experts)} is stored")
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
    """One sealed Parquet file with a row group per table."""
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
        writer.add_key_value_metadata(UNSEALED)
    return seal(buffer)


def _columns(group: Sequence[SampleTrace]) -> list["pa.Array"]:
    import pyarrow as pa

    counts = np.array([row.z.shape[0] for row in group])
    # Layer by layer, so that each layer's bytes are one buffer, which Arrow takes without a copy.
    z_LTE = torch.cat([row.z.permute(1, 0, 2) for row in group], dim=1).contiguous().numpy()
    selected_TLK = torch.cat([row.selected for row in group]).contiguous().numpy()
    return [
        pa.array(np.repeat(np.array([row.conversation_id for row in group], object), counts), pa.string()),
        pa.array(np.repeat(np.array([row.group_id for row in group], object), counts), pa.string()),
        pa.array(np.repeat(np.array([row.label for row in group], np.int8), counts)),
        pa.array(np.concatenate([np.arange(count, dtype=np.int32) for count in counts])),
        pa.array(np.concatenate([row.regions.numpy() for row in group])),
        _bytes_column(selected_TLK),
        *(_bytes_column(z_TE) for z_TE in z_LTE),
    ]


def _bytes_column(values: _Array) -> "pa.Array":
    """The bytes of each of T rows as one cell, without a copy."""
    import pyarrow as pa

    width = values.nbytes // len(values)
    return pa.Array.from_buffers(pa.binary(width), len(values), [None, pa.py_buffer(values)])


def _tables(shards: Iterable[bytes]) -> Iterator[tuple["pa.Table", tuple[int, int, int]]]:
    """Each row group as a table, with the L, E and K of its shard."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for number, shard in enumerate(shards):
        try:
            file = pq.ParquetFile(pa.BufferReader(shard), page_checksum_verification=True)
            shape = _stored_shape(file.schema_arrow)
            for group in range(file.num_row_groups):
                yield file.read_row_group(group, use_threads=False), shape
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"trace shard {number} is damaged or no Parquet file: {error}") from error


def _stored_shape(schema: "pa.Schema") -> tuple[int, int, int]:
    from mascing.schemas.tables import SELECTED, traces_schema

    metadata = schema.metadata or {}
    if b"n_experts" in metadata and SELECTED not in schema.names:
        raise DataError(
            "these traces do not say which experts were selected: an earlier version made them, harvest again"
        )
    try:
        n_layers, n_experts, top_k = (int(metadata[name]) for name in (b"n_layers", b"n_experts", b"top_k"))
    except (KeyError, ValueError) as error:
        raise DataError("not a trace shard: its metadata does not give the numbers of layers and experts") from error
    if not schema.equals(traces_schema(n_layers, n_experts, top_k), check_metadata=True):
        raise DataError("not a trace shard of this version: its columns are not the expected ones")
    return n_layers, n_experts, top_k


def _selection_type(n_experts: int) -> "np.dtype[Any]":
    return torch.empty(0, dtype=selection_dtype(n_experts)).numpy().dtype


def _values(column: "pa.ChunkedArray", dtype: "np.dtype[Any]", width: int) -> _Array:
    """A fixed-size binary column as numbers [T, width]; a view if the column is one chunk."""
    parts = [
        np.frombuffer(chunk.buffers()[1], dtype, len(chunk) * width, chunk.offset * dtype.itemsize * width)
        for chunk in column.chunks
    ]
    flat = parts[0] if len(parts) == 1 else np.concatenate(parts)
    return flat.reshape(-1, width)
