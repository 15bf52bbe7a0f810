"""A mask that only more rows could let pass is told apart from one that costs too much."""

from typing import Any

import pytest

from mascing.evidence.results import changes_by_set, method_result, rates_by_set
from mascing.evidence.too_small import too_small
from mascing.schemas.config import GatesConfig


def verdicts(**hits: int) -> list[dict[str, Any]]:
    """Twenty verdicts of each set, of which the first are hits."""
    return [
        {"conversation_id": f"{name}-{number}", "group_id": f"{name}-{number}", "set": name, "reply": f"reply {number}"}
        | {"outcome": "hit" if number < count else "miss"}
        for name, count in (("target", hits["target"]), ("utility/u", hits["utility"]))
        for number in range(20)
    ]


@pytest.mark.parametrize(
    ("target", "utility", "sets"),
    [
        (20, 20, ["utility/u"]),  # a great gain and no loss: only the second interval is too wide
        (8, 19, ["target", "utility/u"]),
        (20, 10, []),  # half of the utility is lost
        (5, 20, []),  # nothing is gained
    ],
)
def test_the_sets_are_named_if_more_rows_are_all_that_is_missing(target: int, utility: int, sets: list[str]) -> None:
    before, after, gates = verdicts(target=5, utility=20), verdicts(target=target, utility=utility), GatesConfig()
    gates = gates.model_copy(update={"max_degenerate": 1.0})
    result = method_result(before, after, selected={}, circuit_precision=None, gates=gates)
    assert too_small(result, changes_by_set(before, after), rates_by_set(before), gates) == sets


def test_a_gate_of_another_kind_is_no_matter_of_size() -> None:
    before, after, gates = (
        verdicts(target=5, utility=20),
        verdicts(target=20, utility=20),
        GatesConfig(max_degenerate=1),
    )
    result = method_result(before, after, selected={}, circuit_precision=None, gates=gates)
    further = result.model_copy(update={"reasons": (*result.reasons, "labels fails: they disagree")})
    assert too_small(further, changes_by_set(before, after), rates_by_set(before), gates) == []
