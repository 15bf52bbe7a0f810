"""A mask that wins on dev by chance: the best of many without any effect is picked, and fails its gates on test."""

import random
from collections.abc import Iterator
from statistics import fmean

from mascing.evidence.results import cell_score, method_result, winner
from mascing.schemas.config import GatesConfig
from mascing.schemas.result import MethodResult
from mascing.selection.choice import choose

CANDIDATES, DEV, TEST, DRAWS = 24, 12, 120, 100
GATES = GatesConfig(max_utility_loss=1)
"""No utility set is judged here, which leaves its gate off."""


def judged(chance: random.Random, n: int) -> list[dict[str, str]]:
    """Conversations of which half get the wanted reply, whatever the mask, and protected ones that all do."""
    targets = [("target", chance.choice(["hit", "miss"])) for _ in range(n)]
    rows = [*targets, *[("protected/prohibited", "hit")] * n]
    return [
        {"conversation_id": f"c{place}", "group_id": f"g{place}", "set": name, "reply": outcome, "outcome": outcome}
        for place, (name, outcome) in enumerate(rows)
    ]


def draws() -> Iterator[tuple[float, MethodResult]]:
    """The uplift on dev of the picked one of many masks, and what became of it on test."""
    chance = random.Random(0)
    for _ in range(DRAWS):
        plain, *steered = [cell_score({}, judged(chance, DEV)) for _ in range(1 + CANDIDATES)]
        picked = choose(plain, steered, GATES)
        before, after = judged(chance, TEST), judged(chance, TEST)
        result = method_result(before, after, selected={}, circuit_precision=None, gates=GATES)
        yield steered[picked].target_rate - plain.target_rate, result


def test_the_best_of_many_masks_without_effect_on_a_small_dev_split_is_not_published() -> None:
    uplifts, results = zip(*draws(), strict=True)
    assert fmean(uplifts) > 0.2
    for result in results:
        assert result.gate == "fail"
        assert any(reason.startswith("target fails") for reason in result.reasons)
        assert winner({"gradient": result}, "gradient") is None
