"""Traces that are read from their shards when they are needed, so that memory does not follow their number."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from mascing.schemas.methods import Span
from mascing.traces.shards import decode
from mascing.traces.trace_set import TraceSet

WINDOW_BYTES = 32 * 2**20
"""Stored bytes of a window, or one shard where it is larger; two windows are in memory while one follows the other.

What fits as a whole is read once.
"""


@dataclass(frozen=True)
class StoredTraces:
    """The traces of some shards: ``sizes`` are their names and stored bytes, in order; ``read`` gives one's content.

    A random order draws which shards are in memory together, window after window; within a window the reader shuffles.
    """

    read: Callable[[str], bytes]
    sizes: Mapping[str, int]
    views: tuple[Callable[[TraceSet], TraceSet], ...] = ()
    _kept: list[TraceSet] = field(default_factory=list, repr=False, compare=False)

    def parts(self, order: torch.Generator | None = None) -> Iterator[TraceSet]:
        """All samples once, a window at a time. Raises DataError for a shard that is no trace shard, or damaged."""
        if sum(self.sizes.values()) <= WINDOW_BYTES:
            if not self._kept:
                self._kept.append(self._window(list(self.sizes)))
            yield self._kept[0]
            return
        names = list(self.sizes)
        if order is not None:
            names = [names[index] for index in torch.randperm(len(names), generator=order).tolist()]
        for window in self._windows(names):
            yield self._window(window)

    def span(self, name: Span) -> "StoredTraces":
        """The same samples with the tokens of that span alone; what has none is refused when it is read."""
        return self._seen(lambda part: part.span(name))

    def labelled(self, label: int) -> "StoredTraces":
        """The samples of one class."""
        return self._seen(lambda part: part.labelled(label))

    def relabelled(self, labels: Mapping[str, int]) -> "StoredTraces":
        """The same samples with other labels, by conversation id."""
        return self._seen(lambda part: part.relabelled(labels))

    def _seen(self, view: Callable[[TraceSet], TraceSet]) -> "StoredTraces":
        return StoredTraces(self.read, self.sizes, (*self.views, view))

    def _windows(self, names: Sequence[str]) -> Iterator[list[str]]:
        window: list[str] = []
        for name in names:
            if window and sum(self.sizes[one] for one in [*window, name]) > WINDOW_BYTES:
                yield window
                window = []
            window.append(name)
        yield window

    def _window(self, names: Sequence[str]) -> TraceSet:
        traces = decode(self.read(name) for name in names)
        for view in self.views:
            traces = view(traces)
        return traces
