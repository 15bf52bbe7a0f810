"""The prefill half of selection: the teacher-forced margin decides which candidates enter the race."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mascing.masks.candidates import Candidate
from mascing.masks.mask import Mask
from mascing.schemas.config import RunConfig
from mascing.schemas.conversation import Conversation
from mascing.selection.margin import Forced, contenders, forced, forced_batches, forced_rates, worst_loss
from mascing.tasks.running.actors import Pool, Worker
from mascing.tasks.running.stage import steps

# Masks per item: enough to share the rendering of the conversations, few enough to keep all workers busy.
_MASKS = 4


@dataclass(frozen=True)
class Foretold:
    """The prediction of the race.

    ``rates`` holds the forced rate of each set for every candidate. ``entrants`` are the numbers of the candidates that
    enter, by method; ``losses`` the worst loss by candidate number; ``tokens`` the number of tokens read.
    """

    rates: Sequence[Mapping[str, float]]
    entrants: Mapping[str, Sequence[int]]
    losses: Mapping[int, float]
    tokens: int


def foretell(
    pool: Pool, config: RunConfig, conversations: Sequence[Conversation], candidates: Sequence[Candidate]
) -> Foretold:
    """Read the given replies to ``conversations`` under every candidate, and enter each method's most promising."""
    masks: list[Mask | None] = [None, *(candidate.mask for candidate in candidates)]
    items = [masks[start : start + _MASKS] for start in range(0, len(masks), _MASKS)]
    shared = _Shared(config, tuple(conversations))
    readings = [reading for part in pool.map(_read, shared, items, steps("select", "reading")) for reading in part]
    baseline, *steered = [values for values, _ in readings]
    rates = [forced_rates(baseline, values) for values in steered]
    entrants = {
        method: [cells[index] for index in contenders([rates[cell] for cell in cells], config.selection.keep)]
        for method, cells in enter_all(candidates).entrants.items()
    }
    losses = {number: worst_loss(rates_by_set) for number, rates_by_set in enumerate(rates)}
    return Foretold(rates, entrants, losses, sum(tokens for _, tokens in readings))


def enter_all(candidates: Sequence[Candidate]) -> Foretold:
    """Predict nothing: every candidate enters."""
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
    tokens = sum(batch.ids_BT.numel() for batches_of_set in batches.values() for batch in batches_of_set)
    return [(forced(loaded, batches, mask), tokens) for mask in masks]
