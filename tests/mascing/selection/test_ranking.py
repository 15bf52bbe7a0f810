"""The order of the methods on dev: those that keep the other rates first, then the surest uplift."""

from typing import Any

import pytest

from mascing.schemas.config import GatesConfig
from mascing.selection.ranking import ranked

Rows = list[dict[str, Any]]

GATES = GatesConfig(max_utility_loss=0.2)


def rows(target: str, utility: str = "h" * 40) -> Rows:
    """One row per letter, h for a hit and m for a miss; every conversation is a group of its own."""
    return [
        {
            "conversation_id": f"{name}-{number:02d}",
            "group_id": f"{name}-{number}",
            "set": name,
            "outcome": "hit" if letter == "h" else "miss",
        }
        for name, letters in (("target", target), ("utility/facts", utility))
        for number, letter in enumerate(letters)
    ]


BEFORE = rows("m" * 40)


@pytest.mark.parametrize(
    ("picks", "order"),
    [
        ({"a": rows("h" * 20 + "m" * 20), "b": rows("h" * 30 + "m" * 10)}, ["b", "a"]),
        ({"a": rows("h" * 20 + "m" * 20), "b": rows("h" * 40, "h" * 30 + "m" * 10)}, ["a", "b"]),
        ({"a": rows("h" * 40, "m" * 40), "b": rows("h" * 20 + "m" * 20, "h" * 20 + "m" * 20)}, ["b", "a"]),
        ({"a": rows("h" * 30 + "m" * 10), "b": rows("h" * 30 + "m" * 10)}, ["b", "a"]),
        ({"c": rows("h" * 30 + "m" * 10), "a": rows("h" * 30 + "m" * 10)}, ["a", "c"]),
    ],
)
def test_a_kept_utility_comes_first_and_then_the_surest_uplift_the_sparsest_mask_and_the_name(
    picks: dict[str, Rows], order: list[str]
) -> None:
    assert ranked(BEFORE, picks, {"a": 5, "b": 3, "c": 5}, GATES) == order


def test_picks_are_compared_on_the_conversations_that_all_were_judged_on() -> None:
    shuffled = BEFORE[:20] + BEFORE[40:60] + BEFORE[20:40] + BEFORE[60:]
    late, early = (
        [
            {**row, "outcome": "hit"} if row["set"] == "target" and chosen(number) else row
            for number, row in enumerate(shuffled)
        ]
        for chosen in (lambda number: number >= 20, lambda number: number < 10)
    )
    assert ranked(shuffled, {"late": late, "early": early[:40]}, {"late": 1, "early": 1}, GATES) == ["early", "late"]


def test_without_a_pick_there_is_no_order() -> None:
    assert ranked(BEFORE, {}, {}, GATES) == []
