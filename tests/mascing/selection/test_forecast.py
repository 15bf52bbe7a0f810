"""The forecast reads all cells a little and the better half more, and every search seed sends a cell into the race."""

from collections.abc import Sequence

from mascing.schemas.conversation import Conversation, Message
from mascing.selection.forecast import entrants, forecast
from mascing.selection.margin import Forced
from mascing.selection.racing import Cell

MESSAGES = (Message(role="user", content="please"),)
DEV = [
    Conversation(id=f"{name}-{number}", group_id=f"{name}-{number}", set=name, messages=MESSAGES)
    for name in ("target", "utility/benign")
    for number in range(240)
]
FIELDS = [("mascing", seed) for seed in (0, 1) for _ in range(24)] + [("gradient", 0)] * 4


class Reader:
    """A cell's margin grows with its number, and so does what it costs; counts the conversations read."""

    def __init__(self) -> None:
        self.read: dict[Cell, int] = {}

    def __call__(self, cells: Sequence[Cell], block: Sequence[Conversation]) -> list[Forced]:
        for cell in cells:
            self.read[cell] = self.read.get(cell, 0) + len(block)
        targets = sum(conversation.set == "target" for conversation in block)
        strengths = [0.05 * (cell or 0) for cell in cells]
        kept = len(block) - targets
        return [Forced([strength] * targets, {"utility/benign": [-0.02 * strength] * kept}) for strength in strengths]


def test_every_cell_is_read_a_little_and_the_better_ones_more() -> None:
    reader = Reader()
    foreseen = forecast(FIELDS, DEV, 0, reader)
    assert foreseen is not None
    assert sorted(foreseen.rates) == list(range(len(FIELDS)))
    assert [sum(FIELDS[cell] == field for cell in foreseen.running) for field in dict.fromkeys(FIELDS)] == [6, 6, 4]
    assert {reader.read[cell] for cell in foreseen.running} == {reader.read[None]} == {120}
    assert min(reader.read.values()) == 30
    assert sum(reader.read.values()) < 0.6 * 120 * (len(FIELDS) + 1)
    assert {23, 47, 51} <= set(foreseen.running)


def test_a_small_dev_split_is_read_at_once() -> None:
    reader = Reader()
    foreseen = forecast(FIELDS, DEV[200:280], 0, reader)
    assert foreseen is not None
    assert set(reader.read.values()) == {20}


def test_without_given_replies_nothing_is_foreseen() -> None:
    assert forecast(FIELDS, DEV, 0, lambda cells, block: [Forced([], {}) for _ in cells]) is None


def test_the_places_of_a_grid_are_counted_before_it_is_thinned_and_every_search_seed_enters() -> None:
    rates = {cell: {"target": 0.5 + cell / 200} for cell in range(len(FIELDS))}
    running = [21, 22, 23, *range(40, 52)]
    assert entrants(FIELDS, running, rates, 5) == {"mascing": [23, 43, 44, 45, 46, 47], "gradient": [50, 51]}
