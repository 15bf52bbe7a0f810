"""Which candidates enter the race: prefills of given replies decide or, without these, a first look at replies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil

from mascing.evidence.results import rates_by_set
from mascing.masks.candidates import Candidate
from mascing.schemas.config import RunConfig
from mascing.schemas.conversation import Conversation
from mascing.selection.margin import Forced, contenders, forced_rates, foretells, places_for, promising, worst_loss
from mascing.selection.racing import Cell, Rows, blocks_of
from mascing.tasks.picking.sample import readings
from mascing.tasks.running.actors import Pool
from mascing.tasks.running.judged import judged_on_pool
from mascing.tasks.running.stage import steps

READ = 0.25
"""Share of dev that decides: likelihoods differ between masks on far fewer conversations than verdicts do."""

# Shares of dev after which the less promising half of a search seed's candidates is read no further.
_THINNED = (1 / 16, 1 / 8)

# A part of dev that is smaller than this decides nothing, and a search seed with so few candidates loses none.
_FEWEST_CONVERSATIONS = 24
_FEWEST_CANDIDATES = 6

# Masks per item: enough to share the rendering of the conversations, few enough to keep all workers busy.
_MASKS = 4


@dataclass(frozen=True)
class Foretold:
    """The prediction of the race.

    ``rates`` holds the forced rate of each set for every candidate. ``entrants`` are the numbers of the candidates that
    enter, by method; ``losses`` the worst loss by candidate number; ``tokens`` the number of tokens read. ``looks``
    holds the verdicts of a first look by candidate number, if there was one.
    """

    rates: Sequence[Mapping[str, float]]
    entrants: Mapping[str, Sequence[int]]
    losses: Mapping[int, float] = field(default_factory=dict)
    tokens: int = 0
    looks: Mapping[Cell, Rows] = field(default_factory=dict)


def foretell(
    pool: Pool, config: RunConfig, conversations: Sequence[Conversation], candidates: Sequence[Candidate]
) -> Foretold:
    """Enter each method's most promising candidates.

    The model reads the given replies to a part of ``conversations`` under every candidate, and those to a larger part
    under the better half of each search seed's. Without given replies, all candidates reply to a small part.
    """
    shares = [share for share in _THINNED if share * len(conversations) >= _FEWEST_CONVERSATIONS]
    rates: dict[int, dict[str, float]] = {}
    running: list[int] = list(range(len(candidates)))
    read: dict[int | None, Forced] = {number: Forced([], {}) for number in (None, *running)}
    tokens = 0
    for block in blocks_of(conversations, (*shares, READ, 1.0), config.seed)[: len(shares) + 1]:
        running = _better(candidates, running, rates)
        masks = [None, *(candidates[number].mask for number in running)]
        reading = steps("select", f"reading {len(block)} conversations")
        parts = readings(pool, config, block, masks, reading, _MASKS)
        for number, (likelihoods, tokens_read) in zip([None, *running], parts, strict=True):
            read[number] += likelihoods
            tokens += tokens_read
        rates |= {number: forced_rates(read[None], read[number]) for number in running}
        if not foretells(list(rates.values())):
            return _first_look(pool, config, conversations, candidates, tokens)
    losses = {number: worst_loss(of_cell) for number, of_cell in rates.items()}
    return Foretold(
        [rates[number] for number in range(len(candidates))],
        _entrants(config, candidates, running, rates),
        losses,
        tokens,
    )


def enter_all(candidates: Sequence[Candidate]) -> Foretold:
    """Predict nothing: every candidate enters."""
    return Foretold([{} for _ in candidates], _numbers_by_method(candidates))


def seed_of(candidate: Candidate) -> int:
    """The search seed that found a candidate; 0 if its method searches only once."""
    return int(candidate.cell.get("search_seed", 0))


def _first_look(
    pool: Pool,
    config: RunConfig,
    conversations: Sequence[Conversation],
    candidates: Sequence[Candidate],
    tokens: int,
) -> Foretold:
    """Let every candidate reply to a small part of ``conversations``, and enter the most promising by their rates."""
    share = max(_THINNED[0], min(1.0, _FEWEST_CONVERSATIONS / len(conversations)))
    block = blocks_of(conversations, (share,), config.seed)[0]
    masks = [(candidate.method, candidate.mask) for candidate in candidates]
    judged = judged_on_pool(pool, config, block, masks, steps("select", f"a first look at {len(block)} conversations"))
    rates = {number: {name: of.value for name, of in rates_by_set(rows).items()} for number, rows in enumerate(judged)}
    return Foretold(
        [{} for _ in candidates],
        _entrants(config, candidates, range(len(candidates)), rates),
        tokens=tokens,
        looks=dict(enumerate(judged)),
    )


def _better(
    candidates: Sequence[Candidate], running: Sequence[int], rates: Mapping[int, Mapping[str, float]]
) -> list[int]:
    """The more promising half of each search seed's candidates; all of them while nothing is known."""
    if not rates:
        return list(running)
    fields: dict[tuple[str, int], list[int]] = {}
    for number in running:
        fields.setdefault((candidates[number].method, seed_of(candidates[number])), []).append(number)
    return sorted(
        numbers[index]
        for numbers in fields.values()
        for index in promising([rates[number] for number in numbers], max(_FEWEST_CANDIDATES, ceil(len(numbers) / 2)))
    )


def _entrants(
    config: RunConfig,
    candidates: Sequence[Candidate],
    running: Sequence[int],
    rates: Mapping[int, Mapping[str, float]],
) -> dict[str, list[int]]:
    """The contenders of each method among the ``running`` candidates."""
    entrants = {}
    for method, all_numbers in _numbers_by_method(candidates).items():
        numbers = [number for number in running if candidates[number].method == method]
        places = places_for(len(all_numbers), config.selection.keep)
        seeds = [seed_of(candidates[number]) for number in numbers]
        chosen = contenders([rates[number] for number in numbers], places, seeds if len(set(seeds)) > 1 else ())
        entrants[method] = [numbers[index] for index in chosen]
    return entrants


def _numbers_by_method(candidates: Sequence[Candidate]) -> dict[str, list[int]]:
    numbers: dict[str, list[int]] = {}
    for number, candidate in enumerate(candidates):
        numbers.setdefault(candidate.method, []).append(number)
    return numbers
