"""Traces that are read from their shards when needed, so that memory does not grow with their number."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import TypeVar

import torch

from mascing.schemas.settings.method_settings import Span
from mascing.storage.ranged import Ranged
from mascing.traces.shard_files import ALL, ShardFile, Wanted, read_groups
from mascing.traces.trace_set import TraceSet

WINDOW_BYTES = 32 * 2**20
"""Bytes of a window in memory, about; a larger row group is a window of its own.

Up to three windows are in memory: one in use, one that waits, and one that is read. Traces whose shards are together no
larger are read only once.
"""

MIXED_BYTES = 2**28
"""Stored bytes of the shards among which a random order mixes row groups. A larger shard is mixed with no other.

Shards that are not on a local disk are in memory while they are mixed.
"""

_RowGroup = tuple[ShardFile, int]
_Drawn = TypeVar("_Drawn", str, _RowGroup)


@dataclass(frozen=True)
class StoredTraces:
    """The traces of several shards.

    ``sizes`` maps each shard's name to its stored bytes, in order; ``read`` returns, by name, the path of a local shard
    or the content of any other, and ``read_parts`` how parts of a shard are read, for when only some columns are
    wanted. A random order draws which shards are mixed and which of their row groups share a window; the reader
    shuffles within a window. The order does not depend on where the shards are stored.
    """

    read: Callable[[str], bytes | Path]
    sizes: Mapping[str, int]
    read_parts: Callable[[str], Path | Ranged] | None = None
    views: tuple[Callable[[TraceSet], TraceSet], ...] = ()
    wanted: Wanted = ALL
    _cached: list[TraceSet] = field(default_factory=list, repr=False, compare=False)

    def parts(self, order: torch.Generator | None = None) -> Iterator[TraceSet]:
        """All samples once, a window at a time; the next window is read meanwhile.

        Raises DataError for a shard that is damaged or no trace shard.
        """
        if sum(self.sizes.values()) <= WINDOW_BYTES:
            if not self._cached:
                self._cached.append(self._window(list(self._row_groups(list(self.sizes)))))
            yield self._cached[0]
            return
        if order is not None:  # another thread draws, so it needs a generator of its own
            order = torch.Generator().manual_seed(int(torch.randint(2**62, (), generator=order)))
        yield from _read_ahead(map(self._window, self._windows(self._drawn(order))))

    def span(self, name: Span) -> "StoredTraces":
        """The same samples with only the tokens of that span; reading a sample without any raises DataError."""
        return self._with_view(lambda part: part.span(name))

    def labelled(self, label: int) -> "StoredTraces":
        """The samples of one class."""
        return self._with_view(lambda part: part.labelled(label))

    def relabelled(self, labels: Mapping[str, int]) -> "StoredTraces":
        """The same samples with other labels, by conversation id."""
        return self._with_view(lambda part: part.relabelled(labels))

    def without_logits(self) -> "StoredTraces":
        """The same samples with the selections alone; the columns of the logits are not read."""
        return replace(self, wanted=replace(self.wanted, logits=False), _cached=[])

    def layers(self, numbers: Sequence[int]) -> "StoredTraces":
        """The same samples with these MoE layers alone (counted from 0); the columns of no other are read.

        Reading raises DataError for a layer that is not kept.
        """
        return replace(self, wanted=replace(self.wanted, layers=tuple(numbers)), _cached=[])

    def _with_view(self, view: Callable[[TraceSet], TraceSet]) -> "StoredTraces":
        return replace(self, views=(*self.views, view), _cached=[])

    def _drawn(self, order: torch.Generator | None) -> Iterator[_RowGroup]:
        """All row groups, in stored order or drawn."""
        if order is None:
            yield from self._row_groups(list(self.sizes))
            return
        for names in self._mixed(_permuted(list(self.sizes), order)):
            yield from _permuted(list(self._row_groups(names)), order)

    def _mixed(self, names: Sequence[str]) -> Iterator[list[str]]:
        """The shards whose row groups are mixed."""
        mixed: list[str] = []
        for name in names:
            if mixed and sum(self.sizes[member] for member in [*mixed, name]) > MIXED_BYTES:
                yield mixed
                mixed = []
            mixed.append(name)
        yield mixed

    def _row_groups(self, names: Sequence[str]) -> Iterator[_RowGroup]:
        read = self.read if self.wanted == ALL or self.read_parts is None else self.read_parts
        files = (ShardFile(read(name), name) for name in names)
        return chain.from_iterable(((file, group) for group in range(len(file.rows))) for file in files)

    def _windows(self, groups: Iterator[_RowGroup]) -> Iterator[list[_RowGroup]]:
        window: list[_RowGroup] = []
        size = 0
        for file, group in groups:
            taken = file.rows[group] * self.wanted.token_bytes(file.layout)
            window.append((file, group))
            size += taken
            if size + taken > WINDOW_BYTES:  # with one more like it; the next shard need not be opened to know
                yield window
                window, size = [], 0
        if window:
            yield window

    def _window(self, groups: Sequence[_RowGroup]) -> TraceSet:
        traces = read_groups(groups, self.wanted)
        for view in self.views:
            traces = view(traces)
        return traces


def _permuted(values: list[_Drawn], order: torch.Generator) -> list[_Drawn]:
    return [values[index] for index in torch.randperm(len(values), generator=order).tolist()]


def _read_ahead(parts: Iterator[TraceSet]) -> Iterator[TraceSet]:
    """The parts, each read by another thread while the one before is in use."""
    with ThreadPoolExecutor(1, thread_name_prefix="traces") as reader:
        coming = reader.submit(next, parts, None)
        while (part := coming.result()) is not None:
            coming = reader.submit(next, parts, None)
            yield part
            del part
