"""The prefill half of selection: on the pool, which candidates the teacher-forced margin leaves to the race."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mascing.masks.candidates import Candidate
from mascing.masks.mask import Mask
from mascing.schemas.config import RunConfig
from mascing.schemas.conversation import Conversation
from mascing.selection.margin import Forced, contenders, forced, forced_batches, forced_rates, worst_loss
from mascing.tasks.running.actors import Pool, Worker
from mascing.tasks.running.stage import steps

# Masks an item: enough to share the rendering of the conversations, few enough to keep all workers at work.
_MASKS = 4


@dataclass(frozen=True)
class Foretold:
    """The forced rates of each candidate by set, each method's entrants, worst losses by candidate, tokens read."""

    rates: Sequence[Mapping[str, float]]
    entrants: Mapping[str, Sequence[int]]
    losses: Mapping[int, float]
    tokens: int


def foretell(
    pool: Pool, config: RunConfig, conversations: Sequence[Conversation], candidates: Sequence[Candidate]
) -> Foretold:
    """Read the given replies to ``conversations`` under every candidate, and keep the promising ones of each method."""
    masks: list[Mask | None] = [None, *(candidate.mask for candidate in candidates)]
    items = [masks[start : start + _MASKS] for start in range(0, len(masks), _MASKS)]
    shared = _Shared(config, tuple(conversations))
    read = [one for part in pool.map(_read, shared, items, steps("select", "reading")) for one in part]
    baseline, *steered = [values for values, _ in read]
    rates = [forced_rates(baseline, values) for values in steered]
    everyone = enter_all(candidates).entrants
    keep = config.selection.keep
    left = {
        method: [cells[index] for index in contenders([rates[cell] for cell in cells], keep)]
        for method, cells in everyone.items()
    }
    losses = {number: worst_loss(one) for number, one in enumerate(rates)}
    return Foretold(rates, left, losses, sum(tokens for _, tokens in read))


def enter_all(candidates: Sequence[Candidate]) -> Foretold:
    """Nothing foretold: every candidate is an entrant."""
    entrants: dict[str, list[int]] = {}
    for number, candidate in enumerate(candidates):
        entrants.setdefault(candidate.method, []).append(number)
    return Foretold([{} for _ in candidates], entrants, {}, 0)


@dataclass(frozen=True)
class _Shared:
    config: RunConfig
    conversations: tuple[Conversation, ...]


def _read(worker: Worker, shared: _Shared, masks: Sequence[Mask | None]) -> list[tuple[Forced, int]]:
    loaded = worker.model(shared.config.model)
    batches = forced_batches(loaded, shared.conversations, shared.config.generation.batch_size)
    tokens = sum(batch.ids_BT.numel() for found in batches.values() for batch in found)
    return [(forced(loaded, batches, mask), tokens) for mask in masks]
