"""How the search seeds of a method scatter: the best candidate of each, judged on the same conversations."""

from collections.abc import Mapping, Sequence

from mascing.evidence.results import cell_score
from mascing.masks.candidates import Candidate
from mascing.schemas.cards.dev_race import SeedPick
from mascing.schemas.config import GatesConfig
from mascing.selection.choice import choose
from mascing.selection.racing import Race, Rows
from mascing.tasks.picking.foretell import seed_of


def scatter_of(
    candidates: Sequence[Candidate],
    places: Sequence[int],
    rates: Sequence[Mapping[str, float]],
    raced: Race,
    gates: GatesConfig,
) -> dict[str, tuple[SeedPick, ...]]:
    """The best judged candidate of every search seed, by method, for methods with several.

    ``places`` are the candidates' numbers among those of their method, ``rates`` their forced rates.
    """
    judged: dict[str, dict[int, list[int]]] = {}
    for number in sorted(cell for cell in raced.verdicts if cell is not None):
        candidate = candidates[number]
        judged.setdefault(candidate.method, {}).setdefault(seed_of(candidate), []).append(number)
    return {
        method: tuple(
            _seed_pick(seed, places, rates, _shared_start(raced, by_seed), numbers, gates)
            for seed, numbers in sorted(by_seed.items())
        )
        for method, by_seed in judged.items()
        if len(by_seed) > 1
    }


def _shared_start(raced: Race, by_seed: Mapping[int, Sequence[int]]) -> dict[int | None, Rows]:
    """The verdicts on the conversations that all judged candidates of a method share."""
    numbers = [number for of_seed in by_seed.values() for number in of_seed]
    shared = min(len(raced.verdicts[number]) for number in numbers)
    return {number: raced.verdicts[number][:shared] for number in (None, *numbers)}


def _seed_pick(
    seed: int,
    places: Sequence[int],
    rates: Sequence[Mapping[str, float]],
    rows: Mapping[int | None, Rows],
    numbers: Sequence[int],
    gates: GatesConfig,
) -> SeedPick:
    scores = [cell_score({}, rows[number]) for number in numbers]
    best = choose(cell_score({}, rows[None]), scores, gates)
    number, score = numbers[best], scores[best]
    return SeedPick(
        search_seed=seed,
        cell=places[number],
        judged=len(rows[number]),
        foretold=rates[number].get("target"),
        target_rate=score.target_rate,
        utility=dict(score.utility),
        protected=dict(score.protected),
    )
