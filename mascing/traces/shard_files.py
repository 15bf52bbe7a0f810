"""An open trace shard: what its footer says, and its row groups as samples (layout: ``schemas.tables.traces_schema``).

Shapes: T token, L MoE layer, E expert, K selected expert.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from mascing.errors import DataError
from mascing.schemas.tables import SELECTED, TRACES, layer_column, traces_schema
from mascing.schemas.trace_layout import REGIONS, TraceLayout
from mascing.storage.ranged import FOOTER_SEAL, Ranged, RangedFile, check_footer, footer_of
from mascing.traces.shard_statistics import TraceStatistics
from mascing.traces.trace_set import UNLABELLED, TraceSet, offsets, selection_dtype

STATISTICS = "statistics"
"""The entry of the footer's metadata that holds the statistics."""

_Array = np.ndarray[Any, np.dtype[Any]]


Content = bytes | Path | Ranged
"""A shard: all of it, where it is on the local disk, or how parts of it are read."""


@dataclass(frozen=True)
class Wanted:
    """The columns to read: those of the kept ``layers`` (None: of all), with their logits or without."""

    layers: tuple[int, ...] | None = None
    logits: bool = True

    def of(self, layout: TraceLayout) -> tuple[int, ...]:
        """The layers to read. Raises DataError for one that is not kept."""
        chosen = layout.layers if self.layers is None else self.layers
        if strangers := [layer for layer in chosen if layer not in layout.layers]:
            kept = ", ".join(map(str, layout.layers))
            raise DataError(f"these traces hold no MoE layer {strangers[0]}: they keep {kept}")
        return chosen

    def with_logits(self, layout: TraceLayout) -> tuple[int, ...]:
        """The layers whose logits to read."""
        return self.of(layout) if self.logits and layout.keeps == "logits" else ()

    def token_bytes(self, layout: TraceLayout) -> int:
        """What a token takes in memory, about."""
        return 2 * layout.n_experts * len(self.with_logits(layout)) + layout.top_k * len(self.of(layout)) + 1


ALL = Wanted()


class ShardFile:
    """One trace shard. Opening it reads the footer alone: the layout, the statistics and the sizes of the row groups.

    ``content`` is the path of a local file, which is mapped, the whole content, or an object of which only what is
    asked for is read. Raises DataError, which names the file or object, or calls bytes ``name``, for what is no trace
    shard or is damaged (the footer's checksum and those of pages are verified), and for logits that the statistics
    tell not to be raw ones.
    """

    def __init__(self, content: Content, name: str) -> None:
        """Open the shard and check its footer."""
        self.name = content.name if isinstance(content, Ranged) else str(content) if isinstance(content, Path) else name
        with self._named():
            source = _opened(content)
            footer = footer_of(source)
        if sealed := FOOTER_SEAL.encode() in footer:
            check_footer(footer, self.name)
        with self._named():
            self._file = pq.ParquetFile(
                source,
                page_checksum_verification=True,
                pre_buffer=isinstance(content, Ranged),  # one request for columns that stand together
            )
            metadata = {key.decode(): value.decode() for key, value in (self._file.metadata.metadata or {}).items()}
            self.metadata = metadata
            self.layout = _layout(metadata)
            self.statistics = TraceStatistics.from_text(metadata.get(STATISTICS, ""))
            _refuse_untrue(self.layout, self._file.schema_arrow, self.statistics)
        if not sealed:  # told last, so that what is no trace shard at all is called that
            check_footer(footer, self.name)
        groups = range(self._file.num_row_groups)
        self.rows = [self._file.metadata.row_group(group).num_rows for group in groups]
        """Tokens of each row group."""

    def table(self, group: int, columns: Sequence[str]) -> pa.Table:
        """These columns of a row group, and the columns that say which samples they are of."""
        with self._named():
            return self._file.read_row_group(group, columns=[*TRACES.names, *columns], use_threads=False)

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
            raise DataError(f"{self.name} is damaged or no Parquet file: {error}") from error
        except DataError as error:
            raise DataError(f"{self.name}: {error}") from error


def _opened(content: Content) -> pa.NativeFile:
    if isinstance(content, bytes):
        return pa.BufferReader(content)
    return pa.PythonFile(RangedFile(content)) if isinstance(content, Ranged) else pa.memory_map(str(content))


def read_groups(groups: Sequence[tuple[ShardFile, int]], wanted: Wanted = ALL) -> TraceSet:
    """The samples of these row groups in one TraceSet, in their order; only the ``wanted`` columns are read.

    Holds the result and one row group at a time. Raises DataError for a damaged row group, for shards of different
    models, and for a layer that is not kept.
    """
    layout = groups[0][0].layout
    for file, _ in groups:
        if not _alike(file.layout, layout):
            raise DataError(
                f"trace shards of different models or parts of them: {_shape(layout)} and {_shape(file.layout)}"
            )
    room = _Room(layout, wanted, sum(file.rows[group] for file, group in groups))
    for file, group in groups:
        room.add(file.table(group, room.columns), file)
    return room.filled()


class _Room:
    """Arrays for a number of tokens, filled table after table."""

    def __init__(self, layout: TraceLayout, wanted: Wanted, n_tokens: int) -> None:
        chosen, drawn = wanted.of(layout), wanted.with_logits(layout)
        self._layout, self._drawn = layout, drawn
        self._places = [layout.layers.index(layer) for layer in chosen]
        keeps_ids = layout.keeps != "counts"
        self.columns = [*([SELECTED] if keeps_ids else []), *map(layer_column, drawn)]
        ids = torch.empty(0, dtype=selection_dtype(layout.n_experts)).numpy().dtype
        self._z_TLE: _Array = np.empty((n_tokens, len(drawn), layout.n_experts), np.float16)
        self._selected_TLK: _Array = np.empty((n_tokens, len(chosen) if keeps_ids else 0, layout.top_k), ids)
        self._regions_T: _Array = np.empty(n_tokens, np.uint8)
        self._ids: list[str] = []
        self._groups: list[str] = []
        self._labels: list[int] = []
        self._counts: list[int] = []
        self._start = 0

    def add(self, table: pa.Table, file: ShardFile) -> None:
        """Copy the tokens of a table of the file; samples each start at position 0."""
        rows = slice(self._start, self._start + table.num_rows)
        self._start = rows.stop
        for place, layer in enumerate(self._drawn):
            column = table.column(layer_column(layer))
            self._z_TLE[rows, place] = _values(column, self._z_TLE.dtype, self._layout.n_experts)
        if SELECTED in self.columns:
            shape = (table.num_rows, len(self._layout.layers), self._layout.top_k)
            ids = _values(table.column(SELECTED), self._selected_TLK.dtype, shape[1] * shape[2]).reshape(shape)
            self._selected_TLK[rows] = ids if len(self._places) == shape[1] else ids[:, self._places]
        self._regions_T[rows] = table.column("region").to_numpy()
        spans = [REGIONS.index(span) for span in file.layout.spans]
        firsts = np.flatnonzero(table.column("position").to_numpy() == 0)
        labels = table.column("label").take(firsts).fill_null(UNLABELLED).to_pylist()
        if not len(firsts) or firsts[0] != 0:
            raise DataError(f"{file.name} is no trace shard: a row group begins inside a sample")
        if not np.isin(self._regions_T[rows], spans).all() or not {*labels} <= {0, 1, UNLABELLED}:
            raise DataError(f"{file.name} is no trace shard: it has tokens of other spans or labels than it says")
        self._ids += table.column("conversation_id").take(firsts).to_pylist()
        self._groups += table.column("group_id").take(firsts).to_pylist()
        self._labels += labels
        self._counts += np.diff(np.append(firsts, table.num_rows)).tolist()

    def filled(self) -> TraceSet:
        """All of them."""
        return TraceSet(
            z=torch.from_numpy(self._z_TLE),
            offsets=offsets(self._counts),
            labels=torch.tensor(self._labels, dtype=torch.long),
            regions=torch.from_numpy(self._regions_T),
            ids=self._ids,
            groups=self._groups,
            selected=torch.from_numpy(self._selected_TLK),
        )


def _layout(metadata: dict[str, str]) -> TraceLayout:
    if "n_experts" in metadata and "keeps" not in metadata:
        raise DataError(
            "these traces do not say which layers and spans they hold: an earlier version made them, harvest again"
        )
    try:
        layout = TraceLayout.from_metadata(metadata)
    except (KeyError, ValueError) as error:
        raise DataError("not a trace shard: its metadata does not give model, layers and spans") from error
    return layout


def _refuse_untrue(layout: TraceLayout, schema: pa.Schema, statistics: TraceStatistics) -> None:
    """Refuse other columns than those of the layout, and logits that cannot be raw ones."""
    if not pa.schema(list(schema)).equals(pa.schema(list(traces_schema(layout)))):
        raise DataError("not a trace shard of this version: its columns are not the expected ones")
    spread = statistics.spread
    if (spread is not None) != (layout.keeps == "logits"):
        raise DataError("its statistics are those of other traces")
    if spread is None or not spread.values:
        return
    for layer, low, high in zip(layout.layers, spread.low_L.tolist(), spread.high_L.tolist(), strict=True):
        if not (np.isfinite([low, high]).all() and low < high and (low < 0 or high > 1)):
            raise DataError(f"MoE layer {layer}: its values from {low:g} to {high:g} cannot be raw router logits")


def _alike(layout: TraceLayout, other: TraceLayout) -> bool:
    """Whether the tokens of both can stand in one TraceSet."""
    return _shape(layout) == _shape(other) and layout.layers == other.layers and layout.keeps == other.keeps


def _shape(layout: TraceLayout) -> str:
    size = f"{len(layout.layer_ids)} MoE layers x {layout.n_experts} experts, top-{layout.top_k}"
    return f"{size}, {layout.keeps} of {len(layout.layers)} layers"


def _values(column: pa.ChunkedArray, dtype: "np.dtype[Any]", width: int) -> _Array:
    """A fixed-size binary column as numbers [T, width]; a view if the column is one chunk."""
    parts = [
        np.frombuffer(chunk.buffers()[1], dtype, len(chunk) * width, chunk.offset * dtype.itemsize * width)
        for chunk in column.chunks
    ]
    flat = parts[0] if len(parts) == 1 else np.concatenate(parts)
    return flat.reshape(-1, width)
