"""Drift takes certainty, a promotion takes proof; both compare the same conversations."""

from typing import Any

import numpy as np
import pytest

from mascing.evidence.promoting.promotion import decide_drift, decide_not_worse, paired_by_set
from mascing.evidence.promoting.routing_drift import routing_drift
from mascing.statistics.routing_shift import RoutingShift


def rows(hits: int, n: int, name: str = "target", unscored: int = 0) -> list[dict[str, Any]]:
    outcomes = ["hit"] * hits + ["unscored"] * unscored
    return [
        {"set": name, "conversation_id": f"{name}{number}", "group_id": f"{name}{number}"}
        | {"outcome": outcomes[number] if number < len(outcomes) else "miss"}
        for number in range(n)
    ]


def test_pairs_are_those_that_both_judged_and_the_target_comes_first() -> None:
    paired = paired_by_set(rows(3, 6) + rows(1, 2, "utility/u"), rows(1, 4) + rows(2, 2, "protected/p"))
    assert list(paired) == ["target"]
    assert paired["target"].before == ("hit", "hit", "hit", "miss")
    assert paired["target"].after == ("hit", "miss", "miss", "miss")
    both = paired_by_set(rows(1, 2, "a/u") + rows(1, 2), rows(1, 2, "a/u") + rows(1, 2))
    assert list(both) == ["target", "a/u"]


@pytest.mark.parametrize(
    ("now", "gate"),
    [
        (80, "pass"),  # the same
        (90, "pass"),  # better
        (77, "pass"),  # a fall within the tolerance, however certain
        (60, "fail"),
    ],
)
def test_drift_is_a_significant_fall_beyond_the_tolerance(now: int, gate: str) -> None:
    assert decide_drift(paired_by_set(rows(80, 100), rows(now, 100)), tolerance=0.05)[0] == gate


def test_a_large_fall_of_a_few_is_no_drift_since_chance_explains_it() -> None:
    gate, [reason] = decide_drift(paired_by_set(rows(3, 5), rows(2, 5)), tolerance=0.05)
    assert gate == "pass"
    assert reason.startswith("target since its card passes: the rate changed by -20.0 points")


@pytest.mark.parametrize(
    ("n", "now", "gate"),
    [
        (200, 160, "pass"),  # the same on enough conversations
        (20, 16, "undecided"),  # the same on a few
        (200, 100, "fail"),
    ],
)
def test_a_candidate_has_to_show_that_it_is_not_behind(n: int, now: int, gate: str) -> None:
    decided, [reason] = decide_not_worse(paired_by_set(rows(n * 4 // 5, n), rows(now, n)), tolerance=0.05)
    assert decided == gate
    assert ("more test conversations" in reason) == (gate == "undecided")


def test_replies_that_nobody_could_judge_count_against_the_candidate() -> None:
    paired = paired_by_set(rows(160, 200), rows(140, 200, unscored=20))
    assert decide_not_worse(paired, tolerance=0.05)[0] != "pass"


@pytest.mark.parametrize(
    ("moved", "p", "gate"),
    [(0.2, 0.001, "fail"), (0.01, 0.001, "pass"), (0.2, 0.3, "pass")],
    ids=["large and certain", "certain and tiny", "large and by chance"],
)
def test_routing_drifts_if_it_moved_far_and_certainly(moved: float, p: float, gate: str) -> None:
    shift = RoutingShift(np.array([0.0, moved]), np.array([1.0, p]), np.zeros((2, 4)))
    drift = routing_drift(shift, (3, 7), 0.05, conversations=64, rendered=2)
    assert (drift.gate, drift.layers[0].layer) == (gate, 7)
    assert "2 of them have other tokens than then" in drift.reasons[0]
