"""What the harvest of labelled conversations and the collection of others share: how a worker records rows."""

from collections.abc import Mapping, Sequence
from functools import partial

from mascing.engines.engine import ModelEngine
from mascing.schemas.config import HarvestConfig
from mascing.schemas.conversation import Conversation
from mascing.schemas.trace_layout import Chosen
from mascing.tasks.running.isolation import Failed, surviving
from mascing.tasks.workers.worker import Worker
from mascing.traces.trace_set import SampleTrace, refuse_non_logits


def recorded(
    worker: Worker,
    engine: ModelEngine,
    settings: HarvestConfig,
    rows: Sequence[Conversation],
    *,
    replies: bool,
    chosen: Chosen,
    before: Mapping[str, SampleTrace],
) -> list[SampleTrace | Failed]:
    """The trace of each row, or why it has none; a batch is halved when memory runs out.

    ``before`` are traces by conversation that are not recorded again.
    """
    missing = [row for row in rows if row.id not in before]
    made = iter(surviving(partial(_samples, worker, engine, settings, replies, chosen), missing))
    return [before[row.id] if row.id in before else next(made) for row in rows]


def _samples(
    worker: Worker,
    engine: ModelEngine,
    settings: HarvestConfig,
    replies: bool,
    chosen: Chosen,
    rows: Sequence[Conversation],
) -> list[SampleTrace]:
    """The traces of the rows, refused if they are not raw logits."""
    samples = worker.within_memory(
        "harvest",
        settings.batch_tokens,
        lambda tokens: engine.traces(rows, tokens, replies, chosen, worker.count_batch),
    )
    if chosen.keep == "logits":
        refuse_non_logits([sample.z for sample in samples])
    return samples
