"""The scatter compares the best cell of each search seed on the conversations that all of them were judged on."""

from typing import Any

import torch

from mascing.masks.candidates import Candidate
from mascing.masks.mask import Mask
from mascing.routers.spec import RouterSpec
from mascing.schemas.config import GatesConfig
from mascing.selection.racing import Race
from mascing.tasks.picking.scatter import scatter_of

MASK = Mask.from_bias(torch.ones(2, 4), RouterSpec("olmoe", (0, 2), 4, 2, "softmax"))
CANDIDATES = [
    *(Candidate("mascing", {"alpha": alpha, "search_seed": seed}, MASK) for seed in (0, 1) for alpha in (1, 2)),
    Candidate("gradient", {"alpha": 1}, MASK),
]


def rows(hits: int, judged: int) -> list[dict[str, Any]]:
    return [
        {
            "conversation_id": f"{number}",
            "group_id": f"{number}",
            "set": "target",
            "outcome": "hit" if number < hits else "miss",
        }
        for number in range(judged)
    ]


def test_each_search_seed_shows_its_best_cell_on_the_conversations_that_all_share() -> None:
    verdicts = {None: rows(2, 20), 0: rows(4, 10), 1: rows(8, 20), 3: rows(3, 10), 4: rows(9, 10)}
    raced = Race(verdicts, {"mascing": 1, "gradient": 4}, {})
    rates = [{"target": 0.1 * number} for number in range(5)]
    scatter = scatter_of(CANDIDATES, [0, 1, 2, 3, 0], rates, raced, GatesConfig())
    assert list(scatter) == ["mascing"]
    first, second = scatter["mascing"]
    assert (first.search_seed, first.cell, first.judged, first.target_rate, first.foretold) == (0, 1, 10, 0.8, 0.1)
    assert (second.search_seed, second.cell, second.judged, second.target_rate) == (1, 3, 10, 0.3)
