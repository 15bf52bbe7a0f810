"""Traces that are read from their shards when needed, so that memory does not grow with their number."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from mascing.schemas.settings.method_settings import Span
from mascing.traces.shards import decode
from mascing.traces.trace_set import TraceSet

WINDOW_BYTES = 32 * 2**20
"""Stored bytes of a window. A larger shard is a window of its own.

Two windows are in memory while one replaces the other. Traces that fit into one window are read only once.
"""


@dataclass(frozen=True)
class StoredTraces:
    """The traces of several shards.

    ``sizes`` maps each shard's name to its stored bytes, in order; ``read`` returns a shard's content by name. A random
    order draws which shards share a window; the reader shuffles within a window.
    """

    read: Callable[[str], bytes]
    sizes: Mapping[str, int]
    views: tuple[Callable[[TraceSet], TraceSet], ...] = ()
    _cached: list[TraceSet] = field(default_factory=list, repr=False, compare=False)

    def parts(self, order: torch.Generator | None = None) -> Iterator[TraceSet]:
        """All samples once, a window at a time. Raises DataError for a shard that is damaged or no trace shard."""
        if sum(self.sizes.values()) <= WINDOW_BYTES:
            if not self._cached:
                self._cached.append(self._window(list(self.sizes)))
            yield self._cached[0]
            return
        names = list(self.sizes)
        if order is not None:
            names = [names[index] for index in torch.randperm(len(names), generator=order).tolist()]
        for window in self._windows(names):
            yield self._window(window)

    def span(self, name: Span) -> "StoredTraces":
        """The same samples with only the tokens of that span; reading a sample without any raises DataError."""
        return self._with_view(lambda part: part.span(name))

    def labelled(self, label: int) -> "StoredTraces":
        """The samples of one class."""
        return self._with_view(lambda part: part.labelled(label))

    def relabelled(self, labels: Mapping[str, int]) -> "StoredTraces":
        """The same samples with other labels, by conversation id."""
        return self._with_view(lambda part: part.relabelled(labels))

    def _with_view(self, view: Callable[[TraceSet], TraceSet]) -> "StoredTraces":
        return StoredTraces(self.read, self.sizes, (*self.views, view))

    def _windows(self, names: Sequence[str]) -> Iterator[list[str]]:
        window: list[str] = []
        for name in names:
            if window and sum(self.sizes[member] for member in [*window, name]) > WINDOW_BYTES:
                yield window
                window = []
            window.append(name)
        yield window

    def _window(self, names: Sequence[str]) -> TraceSet:
        traces = decode(self.read(name) for name in names)
        for view in self.views:
            traces = view(traces)
        return traces
