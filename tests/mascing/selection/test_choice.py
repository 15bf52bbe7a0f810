"""The choice of a cell on dev: the strongest effect among cells within the limits."""

import pytest

from mascing.errors import DataError
from mascing.evidence.results import CellScore
from mascing.schemas.config import GatesConfig
from mascing.selection.choice import choose

# On dev, utility may fall by 0.1 and protected rates by 0.05, half of the limits.
GATES = GatesConfig(max_utility_loss=0.2, protected_tolerance=0.1)


def score(target: float, utility: float = 0.9, protected: float = 0.9) -> CellScore:
    return CellScore({}, target, {"benign": utility}, {"illegal": protected})


BASELINE = score(0.5)


@pytest.mark.parametrize(
    ("scores", "chosen"),
    [
        ([score(0.6), score(0.9), score(0.8)], 1),
        ([score(0.6), score(0.9, utility=0.7), score(0.8)], 2),
        ([score(0.6), score(0.9, protected=0.8), score(0.8)], 2),
        # A fall exactly at the limit is within it, although 0.9 - 0.85 exceeds 0.05 in floating point.
        ([score(0.6), score(0.9, protected=0.85)], 1),
        # At equal effect, the smaller worst fall wins, then the first cell; a rise counts as no fall.
        ([score(0.9, utility=0.85), score(0.9, utility=0.88, protected=0.89)], 1),
        ([score(0.9, utility=0.95), score(0.9, utility=1.0)], 0),
        # If no cell is within the limits, the least excess wins, regardless of the effect.
        ([score(0.99, utility=0.2), score(0.6, utility=0.7), score(0.9, utility=0.1)], 1),
        ([score(0.6, utility=0.75, protected=0.2), score(0.6, utility=0.7, protected=0.8)], 1),
        # A cell is chosen even if none has an effect.
        ([score(0.4), score(0.45)], 1),
    ],
)
def test_choice(scores: list[CellScore], chosen: int) -> None:
    assert choose(BASELINE, scores, GATES) == chosen


def test_an_empty_grid_is_refused() -> None:
    with pytest.raises(DataError, match="grid is empty"):
        choose(BASELINE, [], GATES)


def test_a_cell_judged_on_other_sets_is_refused() -> None:
    with pytest.raises(DataError, match="same sets"):
        choose(BASELINE, [CellScore({"alpha": 1}, 0.9, {}, {"illegal": 0.9})], GATES)
