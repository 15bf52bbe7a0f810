"""Read the given replies to some conversations under masks, on the pool, without generating any."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from mascing.masks.mask import Mask
from mascing.schemas.config import RunConfig
from mascing.schemas.conversation import Conversation
from mascing.selection.margin import Forced, forced, forced_batches, forced_rates
from mascing.tasks.workers.pool import Pool
from mascing.tasks.workers.worker import Worker

Reading = tuple[Forced, int]
"""The likelihoods of the replies under one mask, and the number of tokens read."""


def readings(
    pool: Pool,
    config: RunConfig,
    conversations: Sequence[Conversation],
    masks: Sequence[Mask | None],
    progress: Callable[[int, int], None],
    at_once: int,
) -> list[Reading]:
    """Read the replies to ``conversations`` under each mask, ``at_once`` per item; None is the unsteered model."""
    items = [masks[start : start + at_once] for start in range(0, len(masks), at_once)]
    shared = _Shared(config, tuple(conversations))
    return [reading for part in pool.map(_read, shared, items, progress) for reading in part]


class Sample:
    """Conversations whose given replies are read again and again, two masks per item; ``tokens`` counts them."""

    def __init__(self, pool: Pool, config: RunConfig, conversations: Sequence[Conversation]) -> None:
        self._pool, self._config, self._conversations = pool, config, conversations
        self.tokens = 0

    @property
    def foretells(self) -> bool:
        """Whether the conversations have the given replies that a margin needs."""
        return "target" in self.baseline

    @cached_property
    def baseline(self) -> dict[str, float]:
        """The forced rates of the unsteered model."""
        return forced_rates(self._unsteered, self._unsteered)

    def rates(self, masks: Sequence[Mask]) -> list[dict[str, float]]:
        """The forced rates of each mask, by set."""
        return [forced_rates(self._unsteered, steered) for steered in self._forced(masks)]

    @cached_property
    def _unsteered(self) -> Forced:
        return self._forced([None])[0]

    def _forced(self, masks: Sequence[Mask | None]) -> list[Forced]:
        read = readings(self._pool, self._config, self._conversations, masks, lambda done, total: None, at_once=2)
        self.tokens += sum(tokens for _, tokens in read)
        return [likelihoods for likelihoods, _ in read]


@dataclass(frozen=True)
class _Shared:
    config: RunConfig
    conversations: tuple[Conversation, ...]


def _read(worker: Worker, shared: _Shared, masks: Sequence[Mask | None]) -> list[Reading]:
    loaded = worker.model(shared.config.model)
    batches = forced_batches(loaded, shared.conversations, shared.config.generation.batch_size)
    tokens = sum(batch.ids_BT.numel() for batches_of_set in batches.values() for batch in batches_of_set)
    return [(forced(loaded, batches, mask), tokens) for mask in masks]
