"""Which candidates enter the race: prefills of given replies decide or, without these, a first look at replies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mascing.evidence.results import rates_by_set
from mascing.masks.candidates import Candidate
from mascing.runs.stored_conversations import Located
from mascing.selection.forecast import FEWEST_CONVERSATIONS, THINNED, entrants, forecast
from mascing.selection.margin import Forced, worst_loss
from mascing.selection.racing import Cell, Rows, blocks_of
from mascing.tasks.picking.jury import Jury
from mascing.tasks.picking.sample import Sample
from mascing.tasks.running.stage import steps

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


def foretell(jury: Jury, candidates: Sequence[Candidate]) -> Foretold:
    """Enter each method's most promising candidates, by given replies to dev conversations or by a first look."""
    config = jury.config
    tokens: list[int] = []

    def read(cells: Sequence[Cell], block: Sequence[Located]) -> list[Forced]:
        masks = [None if cell is None else candidates[cell].mask for cell in cells]
        progress = steps("select", f"reading {len(block)} conversations")
        read = Sample(jury.judging, jury.at(block)).readings(masks, progress, _MASKS)
        tokens.extend(tokens_of_mask for _, tokens_of_mask in read)
        return [likelihoods for likelihoods, _ in read]

    fields = [(candidate.method, seed_of(candidate)) for candidate in candidates]
    foreseen = forecast(fields, jury.conversations, config.seed, read)
    if foreseen is None:
        return _first_look(jury, candidates, sum(tokens))
    return Foretold(
        [foreseen.rates[number] for number in range(len(candidates))],
        entrants(fields, foreseen.running, foreseen.rates, config.selection.keep),
        {number: worst_loss(rates) for number, rates in foreseen.rates.items()},
        sum(tokens),
    )


def enter_all(candidates: Sequence[Candidate]) -> Foretold:
    """Predict nothing: every candidate enters."""
    numbers: dict[str, list[int]] = {}
    for number, candidate in enumerate(candidates):
        numbers.setdefault(candidate.method, []).append(number)
    return Foretold([{} for _ in candidates], numbers)


def seed_of(candidate: Candidate) -> int:
    """The search seed that found a candidate; 0 if its method searches only once."""
    return int(candidate.cell.get("search_seed", 0))


def _first_look(jury: Jury, candidates: Sequence[Candidate], tokens: int) -> Foretold:
    """Let every candidate reply to a small part of dev, and enter the most promising by their rates."""
    share = max(THINNED[0], min(1.0, FEWEST_CONVERSATIONS / len(jury.conversations)))
    config = jury.config
    block = blocks_of(jury.conversations, (share,), config.seed)[0]
    masks = [(candidate.method, candidate.mask) for candidate in candidates]
    progress = steps("select", f"a first look at {len(block)} conversations")
    judged = jury.judge(masks, block, progress)
    rates = {number: {name: of.value for name, of in rates_by_set(rows).items()} for number, rows in enumerate(judged)}
    fields = [(candidate.method, seed_of(candidate)) for candidate in candidates]
    return Foretold(
        [{} for _ in candidates],
        entrants(fields, range(len(candidates)), rates, config.selection.keep),
        tokens=tokens,
        looks=dict(enumerate(judged)),
    )
