"""Traces as Parquet shards (layout: ``schemas.tables.traces_schema``).

Shapes: T token, L kept MoE layer, E expert, K selected expert, N sample.
"""

import io
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from mascing.errors import DataError
from mascing.routers.spec import RouterSpec
from mascing.schemas.tables import SELECTED, TRACES, layer_column, traces_schema
from mascing.schemas.trace_layout import EVERYTHING, REGIONS, Chosen, TraceLayout
from mascing.storage.ranged import UNSEALED_FOOTER, seal_footer
from mascing.storage.sealing import UNSEALED, seal
from mascing.traces.layouts import layers_of, layout_of
from mascing.traces.shard_files import STATISTICS, ShardFile, read_groups
from mascing.traces.shard_statistics import CLASSES, TraceStatistics, measured
from mascing.traces.trace_set import UNLABELLED, SampleTrace, TraceSet, refuse_non_logits, selection_dtype

ROW_GROUP_BYTES = 16 * 2**20

_Array = np.ndarray[Any, np.dtype[Any]]


def encode(
    rows: Sequence[SampleTrace],
    spec: RouterSpec,
    checkpoint: str = "",
    chosen: Chosen = EVERYTHING,
    notes: Mapping[str, str] = MappingProxyType({}),
) -> bytes:
    """One Parquet shard of the samples, in their order (layout: ``schemas.tables.traces_schema``).

    ``checkpoint`` identifies weights and tokenizer, and ``chosen`` is what was recorded: z [T, L, E], or [T, 0, E]
    without logits, and the ids [T, L, K], which counts alone need too. Every row group holds whole samples, and the
    footer the statistics of all, and ``notes``. A shard may have no samples, if all of its rows failed. Raises
    DataError for samples that cannot be traces of this model: a wrong shape or dtype, no tokens or tokens of another
    span, NaN or infinity, a layer without any spread, probabilities in place of logits, or an expert that the model
    does not have.
    """
    assert sys.byteorder == "little"
    layers = layers_of(chosen, spec.n_layers)
    for row in rows:
        _refuse_misshapen(row, spec, len(layers), chosen)
    if rows:
        refuse_non_logits([row.z for row in rows])
    present = torch.cat([torch.empty(0, dtype=torch.uint8), *(row.regions for row in rows)]).unique().tolist()
    layout = layout_of(spec, checkpoint, chosen, [REGIONS[region] for region in present] or chosen.spans)
    groups = _row_groups(rows, len(layers) * (spec.n_experts * 2 if chosen.keep == "logits" else spec.top_k))
    return _parquet((_group(group, layout) for group in groups), layout, notes)


def decode(shards: Iterable[bytes]) -> TraceSet:
    """The samples of all shards in one TraceSet, in their order.

    Holds the shards, the result and one row group at a time. Raises DataError for bytes that are no trace shard, are
    damaged (page checksums are verified), or are of different models or parts of their routing.
    """
    files = [ShardFile(shard, f"trace shard {number}") for number, shard in enumerate(shards)]
    groups = [(file, group) for file in files for group in range(len(file.rows))]
    if not groups:
        raise DataError("no traces: harvest at least one conversation")
    return read_groups(groups)


def _refuse_misshapen(row: SampleTrace, spec: RouterSpec, n_layers: int, chosen: Chosen) -> None:
    name = f"trace of conversation {row.conversation_id!r}"
    if row.z.ndim != 3 or tuple(row.z.shape[1:]) != (n_layers if chosen.keep == "logits" else 0, spec.n_experts):
        raise DataError(
            f"{name}: shape {list(row.z.shape)}, but {chosen.keep} of {n_layers} layers x {spec.n_experts} experts "
            "are kept"
        )
    if row.z.dtype != torch.float16:
        raise DataError(f"{name}: {row.z.dtype} where float16 is stored")
    if row.z.shape[0] == 0 or row.regions.shape != row.z.shape[:1]:
        raise DataError(f"{name}: {row.z.shape[0]} tokens with {row.regions.numel()} regions")
    present = {REGIONS[region] for region in row.regions.unique()}
    if (row.regions[1:] < row.regions[:-1]).any() or not present <= {*chosen.spans}:
        raise DataError(f"{name}: its tokens are not those of {', then '.join(chosen.spans)}")
    if row.selected.shape != (len(row.z), n_layers, spec.top_k):
        raise DataError(
            f"{name}: selections of shape {list(row.selected.shape)}, but each of its {len(row.z)} tokens selects "
            f"{spec.top_k} experts in {n_layers} layers"
        )
    if row.selected.dtype != selection_dtype(spec.n_experts):
        raise DataError(f"{name}: selections as {row.selected.dtype} where {selection_dtype(spec.n_experts)} is stored")
    if row.label not in (0, 1, None):
        raise DataError(f"{name}: label {row.label} is neither 1 (positive) nor 0 (negative), nor None")


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


def _parquet(
    groups: Iterable[tuple[pa.Table, TraceStatistics]], layout: TraceLayout, notes: Mapping[str, str]
) -> bytes:
    """One sealed Parquet file, and a sealed footer with the layout and the sum of the statistics of all tables."""
    buffer = io.BytesIO()
    total = TraceStatistics.none(len(layout.layers), layout.n_experts, logits=layout.keeps == "logits")
    with pq.ParquetWriter(
        buffer,
        traces_schema(layout),
        compression="zstd",
        compression_level=1,
        use_dictionary=["conversation_id", "group_id", "label", "region"],
        column_encoding={"position": "DELTA_BINARY_PACKED"},
        write_statistics=list(TRACES.names),
        write_page_checksum=True,
    ) as writer:
        for table, statistics in groups:
            writer.write_table(table, row_group_size=table.num_rows)
            total += statistics
        writer.add_key_value_metadata({**notes, STATISTICS: total.to_text(), **UNSEALED_FOOTER, **UNSEALED})
    seal_footer(buffer)
    return seal(buffer)


def _group(rows: Sequence[SampleTrace], layout: TraceLayout) -> tuple[pa.Table, TraceStatistics]:
    """The samples of a row group as a table of the layout, and their statistics."""
    counts = np.array([row.z.shape[0] for row in rows])
    # Layer by layer, so that each layer's bytes are one buffer, which Arrow takes without a copy.
    z_LTE = torch.cat([row.z.permute(1, 0, 2) for row in rows], dim=1).contiguous()
    selected_TLK = torch.cat([row.selected for row in rows]).contiguous()
    regions_T = torch.cat([row.regions for row in rows])
    labels = [UNLABELLED if row.label is None else row.label for row in rows]
    labels_T = torch.tensor(labels).repeat_interleave(torch.from_numpy(counts))
    samples_C = torch.tensor(labels).remainder(len(CLASSES)).bincount(minlength=len(CLASSES))
    columns = {
        "conversation_id": _repeated([row.conversation_id for row in rows], counts),
        "group_id": _repeated([row.group_id for row in rows], counts),
        "label": pa.array(labels_T.numpy().astype(np.int8), mask=(labels_T == UNLABELLED).numpy()),
        "position": pa.array(np.concatenate([np.arange(count, dtype=np.int32) for count in counts])),
        "region": pa.array(regions_T.numpy()),
        SELECTED: _bytes_column(selected_TLK),
        **{layer_column(layer): _bytes_column(z_TE) for layer, z_TE in zip(layout.layers, z_LTE, strict=False)},
    }
    schema = traces_schema(layout)
    table = pa.Table.from_arrays([columns[name] for name in schema.names], schema=schema)
    return table, measured(z_LTE, selected_TLK, labels_T, regions_T, samples_C)


def _repeated(texts: Sequence[str], counts: _Array) -> pa.Array:
    return pa.array(np.repeat(np.array(texts, object), counts), pa.string())


def _bytes_column(values: Tensor) -> pa.Array:
    """The bytes of each of T rows as one cell, without a copy."""
    array = values.numpy()
    width = array.nbytes // len(array)
    return pa.Array.from_buffers(pa.binary(width), len(array), [None, pa.py_buffer(array)])
