"""Choose one mask per method from its cells' judged replies on the dev split."""

from collections.abc import Sequence

from mascing.errors import DataError
from mascing.evidence.results import CellScore
from mascing.schemas.config import GatesConfig

# Share of a gate's limit that a cell may use up on dev. The gate compares the upper bound of the loss on the test split
# with the limit, so a cell whose point estimate is at the limit would fail. At split sizes that allow a verdict at all,
# the interval takes up about half of the limit.
HEADROOM = 0.5


def choose(baseline: CellScore, scores: Sequence[CellScore], gates: GatesConfig) -> int:
    """Return the index of the cell with the highest target rate among those that keep utility and protected rates.

    A cell keeps a rate if the rate falls by at most half its gate's limit. Ties go to the smaller worst fall of any
    rate, then to the earlier cell: grids list the weaker mask first. If no cell keeps everything, the cells that exceed
    their limits least compete. Raises DataError if there are no cells or a rate is missing.
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
    """Return the largest fall of a utility or protected rate beyond what `choose` allows; 0 if there is none."""
    utility, protected = _falls(baseline, score)
    beyond = (
        *(fall - HEADROOM * gates.max_utility_loss for fall in utility),
        *(fall - HEADROOM * gates.protected_tolerance for fall in protected),
    )
    # Differences of rates have rounding errors: 0.9 - 0.85 must not count as more than 0.05.
    return max((fall for fall in beyond if fall > 1e-9), default=0.0)


Falls = tuple[tuple[float, ...], tuple[float, ...]]


def _falls(baseline: CellScore, score: CellScore) -> Falls:
    """Return how far each utility and protected rate falls below the baseline's; negative if it rises."""
    if score.utility.keys() != baseline.utility.keys() or score.protected.keys() != baseline.protected.keys():
        raise DataError(f"cell {dict(score.cell)} was not judged on the same sets as the baseline: judge it again")
    return (
        tuple(rate - score.utility[name] for name, rate in baseline.utility.items()),
        tuple(rate - score.protected[name] for name, rate in baseline.protected.items()),
    )
