"""The choice of one mask a method, from its cells' judged replies on the dev split."""

from collections.abc import Sequence

from mascing.errors import DataError
from mascing.evidence.results import CellScore
from mascing.schemas.config import GatesConfig

# Share of a gate's limit that a cell may use up on dev. The gate holds the upper bound of the loss on the test split to
# the limit, so a cell whose point estimate stands at the limit would fail it; at the sizes of splits that give a
# verdict at all, the interval takes about half.
HEADROOM = 0.5


def choose(baseline: CellScore, scores: Sequence[CellScore], gates: GatesConfig) -> int:
    """Index of the cell with the highest target rate among those that keep utility and protected rates.

    A rate is kept where it falls by no more than half its gate's limit. Equal target rates are decided by the smaller
    worst fall of any rate, then by the order of the cells: grids list the weaker mask first. Where no cell keeps
    everything, the one that exceeds its limits least. Raises DataError without cells or with a rate missing.
    """
    if not scores:
        raise DataError("there is no candidate mask to choose from: the method's grid is empty")
    falls = [_falls(baseline, score) for score in scores]
    excesses = [excess(baseline, score, gates) for score in scores]
    least = min(excesses)

    def merit(index: int) -> tuple[float, float, int]:
        worst = max((*falls[index][0], *falls[index][1]), default=0.0)
        return -scores[index].target_rate, max(0.0, worst), index

    return min((index for index, excess in enumerate(excesses) if excess == least), key=merit)


def excess(baseline: CellScore, score: CellScore, gates: GatesConfig) -> float:
    """The most by which a utility or protected rate falls beyond what `choose` lets it; 0 where none does."""
    utility, protected = _falls(baseline, score)
    beyond = (
        *(fall - HEADROOM * gates.max_utility_loss for fall in utility),
        *(fall - HEADROOM * gates.protected_tolerance for fall in protected),
    )
    # Differences of rates carry rounding errors: 0.9 - 0.85 is not more than 0.05.
    return max((one for one in beyond if one > 1e-9), default=0.0)


Falls = tuple[tuple[float, ...], tuple[float, ...]]


def _falls(baseline: CellScore, score: CellScore) -> Falls:
    """How far each utility rate and each protected rate falls below the baseline's; negative where it rises."""
    if score.utility.keys() != baseline.utility.keys() or score.protected.keys() != baseline.protected.keys():
        raise DataError(f"cell {dict(score.cell)} was not judged on the same sets as the baseline: judge it again")
    return (
        tuple(rate - score.utility[name] for name, rate in baseline.utility.items()),
        tuple(rate - score.protected[name] for name, rate in baseline.protected.items()),
    )
