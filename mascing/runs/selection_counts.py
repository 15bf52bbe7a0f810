"""Counts of selections as tables, from the statistics that trace shards carry.

Shapes: C class, S span, L kept MoE layer, E expert.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, get_args

import torch

from mascing.schemas.settings.method_settings import Span
from mascing.schemas.trace_layout import REGIONS
from mascing.traces.shard_statistics import CLASSES, TraceStatistics

if TYPE_CHECKING:
    import polars as pl


def counts_table(statistics: TraceStatistics, depths: Sequence[int]) -> "pl.LazyFrame":
    """A row for each class and span with tokens, layer and expert; ``depths`` are those of the kept layers.

    Columns: ``class``, ``span``, ``layer`` (depth in the model), ``expert``, ``tokens``, ``selected``.
    """
    import polars as pl

    n_layers, n_experts = statistics.selected_CSLE.shape[2:]
    cells = statistics.tokens_CS.nonzero()
    classes, spans = cells.repeat_interleave(n_layers * n_experts, dim=0).unbind(1)
    class_names, span_names = pl.Enum(CLASSES), pl.Enum(REGIONS)
    return pl.LazyFrame(
        {
            "class": pl.Series(CLASSES, dtype=class_names).gather(classes.numpy()),
            "span": pl.Series(REGIONS, dtype=span_names).gather(spans.numpy()),
            "layer": torch.tensor(depths, dtype=torch.int32).repeat_interleave(n_experts).repeat(len(cells)).numpy(),
            "expert": torch.arange(n_experts, dtype=torch.int32).repeat(n_layers * len(cells)).numpy(),
            "tokens": statistics.tokens_CS[classes, spans].numpy(),
            "selected": statistics.selected_CSLE[statistics.tokens_CS > 0].flatten().numpy(),
        }
    )


def count_files(statistics: TraceStatistics, depths: Sequence[int]) -> Iterator[tuple[str, bytes]]:
    """Name and content of a CSV for each class and span with tokens, as `mascing mask from-counts` reads them.

    Columns: ``layer`` (depth in the model), ``expert``, ``count`` and ``tokens``.
    """
    for span in get_args(Span):
        selected_CLE, tokens_C = statistics.selections(span)
        for name, selected_LE, tokens in zip(CLASSES, selected_CLE.tolist(), tokens_C.tolist(), strict=True):
            if tokens:
                yield f"counts-{name}-{span}.csv", _csv(selected_LE, tokens, depths)


def _csv(selected_LE: Sequence[Sequence[int]], tokens: int, depths: Sequence[int]) -> bytes:
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(("layer", "expert", "count", "tokens"))
    for depth, selected_E in zip(depths, selected_LE, strict=True):
        lines.writerows((depth, expert, count, tokens) for expert, count in enumerate(selected_E))
    return text.getvalue().encode()
