"""Read the given replies to some conversations under masks, on the pool, without generating any."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from pydantic import ConfigDict

from mascing.masks.mask import Mask
from mascing.runs.stored_conversations import StoredConversations
from mascing.schemas.base import Frozen
from mascing.schemas.config import RunConfig
from mascing.selection.margin import Forced, forced, forced_batches, forced_rates
from mascing.storage.fingerprint import Streamed, fingerprint
from mascing.storage.object_storage import Storage
from mascing.storage.sealing import open_json, seal_json
from mascing.tasks.replying.judged import Judging
from mascing.tasks.running.identity import rendered_model_identity
from mascing.tasks.running.pieces import stored
from mascing.tasks.workers.worker import Worker

# Raise it whenever the same masks and conversations would be read in another way.
_VERSION = 1

Reading = tuple[Forced, int]
"""The likelihoods of the replies under one mask, and the number of tokens read."""


class Sample:
    """Conversations whose given replies are read again and again; ``tokens`` counts those of :meth:`rates`."""

    def __init__(self, judging: Judging, conversations: StoredConversations) -> None:
        self._judging, self._conversations = judging, conversations
        self.tokens = 0

    def readings(
        self, masks: Sequence[Mask | None], progress: Callable[[int, int], None], at_once: int
    ) -> list[Reading]:
        """Read the replies under each mask, ``at_once`` per item; None is the unsteered model.

        What an item reads is stored by its masks and conversations, and read once.
        """
        items = [tuple(masks[start : start + at_once]) for start in range(0, len(masks), at_once)]
        parts = self._judging.pool.map(_read, self._shared, items, progress)
        return [reading for part in parts for reading in part]

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
        read = self.readings(masks, lambda done, total: None, at_once=2)
        self.tokens += sum(tokens for _, tokens in read)
        return [likelihoods for likelihoods, _ in read]

    @cached_property
    def _shared(self) -> "_Shared":
        """What all items share; all conversations are read once for the name of the folder."""
        config = self._judging.config
        model = rendered_model_identity(config.model, self._judging.checkpoint)
        folder = f"readings/{fingerprint([_VERSION, model, Streamed(self._conversations)])}"
        return _Shared(config, self._judging.storage, folder, self._conversations)


@dataclass(frozen=True)
class _Shared:
    """``folder`` is where readings of these conversations are stored."""

    config: RunConfig
    storage: Storage
    folder: str
    conversations: StoredConversations


class _Stored(Frozen):
    """The readings of one item, a margin per mask and conversation."""

    model_config = ConfigDict(allow_inf_nan=True, ser_json_inf_nan="strings")  # a reply may be impossible under a mask

    margins: tuple[tuple[float, ...], ...]
    kept: tuple[dict[str, tuple[float, ...]], ...]
    tokens: int


def _read(worker: Worker, shared: _Shared, masks: Sequence[Mask | None]) -> list[Reading]:
    name = fingerprint([None if mask is None else mask.digest for mask in masks])
    path = f"{shared.folder}/{name}.json"
    data = stored(shared.storage, path, lambda: _likelihoods(worker, shared, masks))
    read = _Stored.model_validate_json(open_json(data, path))
    return [(Forced(margins, kept), read.tokens) for margins, kept in zip(read.margins, read.kept, strict=True)]


def _likelihoods(worker: Worker, shared: _Shared, masks: Sequence[Mask | None]) -> bytes:
    loaded = worker.model(shared.config.model)
    batches = forced_batches(loaded, shared.conversations, shared.config.generation.batch_size)
    tokens = sum(batch.ids_BT.numel() for batches_of_set in batches.values() for batch in batches_of_set)
    read = [forced(loaded, batches, mask) for mask in masks]
    kept = tuple({name: tuple(values) for name, values in one.kept.items()} for one in read)
    made = _Stored(margins=tuple(tuple(one.margins) for one in read), kept=kept, tokens=tokens)
    return seal_json(made.model_dump_json())
