"""What dev showed of each candidate, compared on the conversations that it was judged on."""

from typing import Any

import pytest

from mascing.schemas.config import GatesConfig
from mascing.schemas.facts import SelectFacts
from mascing.selection.tried import dev_search

CELLS = [{"alpha": alpha, "l1": 0.01} for alpha in (0.5, 1.0, 1.5, 2.0)]


def judged(name: str, outcomes: str) -> list[dict[str, Any]]:
    """The verdicts on the first conversations of a set, by letters: h for a hit, m for a miss."""
    return [
        {"conversation_id": f"{name}-{number}", "group_id": f"{name}-{number}", "set": name}
        | {"outcome": "hit" if letter == "h" else "miss"}
        for number, letter in enumerate(outcomes)
    ]


@pytest.fixture
def facts() -> SelectFacts:
    cells = [{"method": "gradient", "cell": cell, "foretold": {}, "judged": 0, "left": ""} for cell in CELLS]
    cost = dict.fromkeys(
        ("replies", "replies_of_full_grid", "replies_of_control", "replies_of_pruning", "prefill_tokens", "budget"), 1
    )
    picks = {"picked": {"gradient": 1}, "sparsified": {}, "order": ["gradient"]}
    return SelectFacts.model_validate({"baseline": {}, "cells": cells, **picks, "cost": cost})


def test_candidates_are_compared_on_what_they_were_judged_on(facts: SelectFacts) -> None:
    unsteered = {row["conversation_id"]: row for row in [*judged("target", "mmmmhhhh"), *judged("utility/u", "h" * 8)]}
    verdicts = {
        1: [*judged("target", "mmhhhhhh"), *judged("utility/u", "h" * 8)],
        2: [*judged("target", "hhhh"), *judged("utility/u", "hhhm")],
    }
    search = dev_search("gradient", facts, verdicts, unsteered, GatesConfig(max_utility_loss=0.1))
    assert search is not None
    assert (search.picked.cell, search.picked.judged, search.picked.beyond) == (CELLS[1], 16, 0)
    assert search.picked.changes == {"target": 0.25, "utility/u": 0.0}
    [other] = search.others
    assert (other.cell, other.judged, other.changes) == (CELLS[2], 8, {"target": 1.0, "utility/u": -0.25})
    assert other.beyond == pytest.approx(0.2)
    assert (search.grid, search.candidates) == ({"alpha": (0.5, 1.0, 1.5, 2.0)}, 4)


def test_a_method_without_a_judged_pick_has_no_search(facts: SelectFacts) -> None:
    assert dev_search("random", facts, {}, {}, GatesConfig()) is None
    assert dev_search("gradient", facts, {}, {}, GatesConfig()) is None
