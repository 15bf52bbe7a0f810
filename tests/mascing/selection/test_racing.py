"""Selection by racing: blocks of whole groups, who leaves when, and the full grid's choice at less cost."""

from collections.abc import Sequence
from typing import Any

import pytest

from mascing.schemas.config import GatesConfig
from mascing.schemas.conversation import Conversation, Message
from mascing.selection.racing import Cell, Race, blocks_of, race

# On dev, utility and protected rates may fall by 0.2, half of the limits.
GATES = GatesConfig(max_utility_loss=0.4, protected_tolerance=0.4)
SETS = {"target": 80, "utility/benign": 64, "protected/illegal": 40}


def dev(group_size: int = 2) -> list[Conversation]:
    messages = (Message(role="user", content="please"),)
    return [
        Conversation(id=f"{name}-{n}", group_id=f"{name}-{n // group_size}", set=name, messages=messages)
        for name, size in SETS.items()
        for n in range(size)
    ]


class Judged:
    """Fixed verdicts: each cell has a share of hits per set, and every cell hits the same conversations first."""

    def __init__(self, rates: dict[Cell, dict[str, float]]) -> None:
        self._rates = rates
        self.replies = 0

    def __call__(self, cells: Sequence[Cell], block: Sequence[Conversation]) -> list[list[dict[str, Any]]]:
        self.replies += len(cells) * len(block)
        return [[self._row(cell, conversation) for conversation in block] for cell in cells]

    def _row(self, cell: Cell, conversation: Conversation) -> dict[str, Any]:
        # Hits are spread over the set, so that every block has about its share.
        place = (int(conversation.id.rsplit("-", 1)[1]) * 37 % SETS[conversation.set] + 0.5) / SETS[conversation.set]
        hit = place < self._rates[cell].get(conversation.set, 1.0)
        return {
            "conversation_id": conversation.id,
            "group_id": conversation.group_id,
            "set": conversation.set,
            "outcome": "hit" if hit else "miss",
        }


def run(
    cells: dict[Cell, dict[str, float]],
    losses: dict[int, float] | None = None,
    shares: Sequence[float] = (0.25, 0.5, 1),
    most: int | None = None,
) -> tuple[Race, int]:
    judged = Judged({None: {"target": 0.5}, **cells})
    entrants = {"mascing": [cell for cell in cells if cell is not None]}
    raced = race(entrants, blocks_of(dev(), shares, seed=0), judged, GATES, losses or {}, most)
    return raced, judged.replies


def test_blocks_hold_every_conversation_once_in_whole_groups_with_their_share_of_every_set() -> None:
    conversations = dev()
    blocks = blocks_of(conversations, (0.25, 0.5, 1.0), seed=3)
    assert sorted(conversation.id for block in blocks for conversation in block) == sorted(
        conversation.id for conversation in conversations
    )
    groups = [{conversation.group_id for conversation in block} for block in blocks]
    assert not groups[0] & groups[1] | groups[1] & groups[2] | groups[0] & groups[2]
    for name, size in SETS.items():
        assert sum(conversation.set == name for conversation in blocks[0]) == size // 4


def test_blocks_depend_on_seed_and_names_alone() -> None:
    conversations = dev()

    def ids(blocks: list[list[Conversation]]) -> list[set[str]]:
        return [{conversation.id for conversation in block} for block in blocks]

    first = ids(blocks_of(conversations, (0.5, 1.0), seed=0))
    assert ids(blocks_of(conversations[::-1], (0.5, 1.0), seed=0)) == first
    assert ids(blocks_of(conversations, (0.5, 1.0), seed=1)) != first


def test_a_small_set_stands_in_the_first_block() -> None:
    few = [
        conversation
        for conversation in dev()
        if conversation.set != "protected/illegal" or conversation.id == "protected/illegal-0"
    ]
    assert any(conversation.set == "protected/illegal" for conversation in blocks_of(few, (0.1, 1.0), seed=0)[0])


@pytest.mark.parametrize("group", ["utility/benign", "protected/illegal"])
def test_a_cell_that_certainly_costs_too_much_leaves_early(group: str) -> None:
    raced, _ = run({0: {"target": 1.0, group: 0.05}, 1: {"target": 0.7}})
    assert raced.picked == {"mascing": 1}
    assert raced.left[0].startswith(f"round 1: {group} certainly falls by more than 20 points")
    assert len(raced.verdicts[0]) == 46


def test_a_weak_cell_stays_until_the_stronger_one_is_known_to_cost_little() -> None:
    cells: dict[Cell, dict[str, float]] = {0: {"target": 0.5}, 1: {"target": 1.0}}
    raced, _ = run(cells)
    assert raced.picked == {"mascing": 1}
    assert raced.left[0].startswith("round 2: a cell that is no riskier")
    foretold, _ = run(cells, losses={0: 0.02, 1: 0.01})
    assert foretold.left[0].startswith("round 1: a cell that is no riskier")
    assert run(cells, losses={0: 0.01, 1: 0.2})[0].left == raced.left


def test_a_loss_that_shows_only_late_is_found() -> None:
    """The strong cell fails after the first block, so the careful one must still be in the race."""
    blocks = blocks_of(dev(), (0.25, 1.0), seed=0)
    late = {conversation.id for conversation in blocks[1] if conversation.set == "utility/benign"}

    def judge(cells: Sequence[Cell], block: Sequence[Conversation]) -> list[list[dict[str, Any]]]:
        rows = Judged({None: {"target": 0.5}, 0: {"target": 0.7}, 1: {"target": 1.0}})(cells, block)
        for cell, verdicts in zip(cells, rows, strict=True):
            for row in verdicts:
                if cell == 1 and row["conversation_id"] in late:
                    row["outcome"] = "miss"
        return rows

    assert race({"mascing": [0, 1]}, blocks, judge, GATES, {}).picked == {"mascing": 0}


def test_one_block_is_the_full_grid_and_racing_picks_the_same_for_less() -> None:
    cells: dict[Cell, dict[str, float]] = {
        0: {"target": 0.5},
        1: {"target": 0.75},
        2: {"target": 0.9},
        3: {"target": 1.0, "utility/benign": 0.5},
    }
    full, full_cost = run(cells, shares=(1.0,))
    raced, cost = run(cells)
    assert full.picked == raced.picked == {"mascing": 2}
    assert full_cost == 5 * 184
    assert cost < 0.7 * full_cost


def test_where_every_cell_costs_too_much_the_least_excess_is_picked() -> None:
    raced, _ = run({0: {"target": 1.0, "utility/benign": 0.1}, 1: {"target": 0.6, "utility/benign": 0.4}})
    assert raced.picked == {"mascing": 1}


def test_methods_race_apart_and_a_lone_cell_is_judged_on_the_first_block_only() -> None:
    judged = Judged({None: {"target": 0.5}, 0: {"target": 0.6}, 1: {"target": 0.5}, 2: {"target": 1.0}})
    blocks = blocks_of(dev(), (0.25, 0.5, 1.0), seed=0)
    raced = race({"mascing": [0, 1], "gradient": [2]}, blocks, judged, GATES, {})
    assert raced.picked == {"mascing": 0, "gradient": 2}
    assert len(raced.verdicts[2]) == len(blocks[0])
    assert judged.replies == sum(map(len, raced.verdicts.values()))


@pytest.mark.parametrize(("most", "judged", "picked"), [(0, 138, 1), (183, 138, 1), (400, 276, 1), (10_000, 460, 2)])
def test_a_race_ends_where_the_replies_run_short(most: int, judged: int, picked: int) -> None:
    """Three cells stay close to each other; the later blocks alone tell which one is best."""
    cells: dict[Cell, dict[str, float]] = {0: {"target": 0.9}, 1: {"target": 0.95}, 2: {"target": 0.96}}
    raced, _ = run(cells, most=most)
    assert sum(len(rows) for cell, rows in raced.verdicts.items() if cell is not None) == judged
    assert raced.picked == {"mascing": picked}


def test_the_largest_field_loses_its_last_cells_first() -> None:
    rates: dict[Cell, dict[str, float]] = {None: {"target": 0.5}}
    rates |= {cell: {"target": 0.8 + cell / 100} for cell in range(5)}
    blocks = blocks_of(dev(), (0.25, 0.5, 1.0), seed=0)
    entrants = {"mascing": [0, 1, 2], "gradient": [3, 4]}
    raced = race(entrants, blocks, Judged(rates), GATES, {}, 5 * 46 + 4 * 46)
    short = [cell for cell, reason in raced.left.items() if reason.startswith("round 1: the replies ran short")]
    assert len(short) == 1
    assert short[0] in entrants["mascing"]
    assert raced.picked["gradient"] in (3, 4)
