"""Selection draws conversations from everywhere; they are read in the order in which they are stored, and seldom."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from mascing.conversations.parquet_tables import to_table
from mascing.runs.stored_conversations import StoredConversations
from mascing.schemas.config import RunConfig
from mascing.schemas.conversation import Conversation
from mascing.tasks.picking.sample import Sample
from mascing.tasks.replying import judged
from mascing.tasks.replying.judged import BASELINE
from mascing.tasks.streaming.rows import Rows
from tests.bench.scale.streaming import config_of, replies_to
from tests.mascing import olmoe_folder
from tests.tasks.here_pool import HerePool
from tests.tasks.picking.planted_pick import jury_of

CHATS = [olmoe_folder.conversation(f"c{number}", f"question {number}") for number in range(300)]


class Counted(StoredConversations):
    """Counts how often all rows are read."""

    passes = 0

    def __iter__(self) -> Iterator[Conversation]:
        self.passes += 1
        return super().__iter__()


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    olmoe_folder.save(tmp_path / "model")
    return config_of(tmp_path)


def test_units_read_in_stored_order_and_rows_come_as_asked(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judged, "replies_to", replies_to)
    jury = jury_of(HerePool(), config, tmp_path / "storage", CHATS)
    read: list[int] = []

    def reading(rows: Rows, table: Any) -> list[Conversation]:
        read.extend(map(int, rows.positions))
        return [CHATS[position] for position in rows.positions]

    monkeypatch.setattr(Rows, "read", reading)
    asked = jury.conversations[::-2] + jury.conversations[::2][::-1]
    [rows] = jury.judge([(BASELINE, None)], asked, lambda done, total: None)
    assert [row["conversation_id"] for row in rows] == [row.id for row in asked]
    steps = [after - before for before, after in pairwise(read)]
    assert sum(step != 1 for step in steps) <= len(CHATS) // 16  # only where a unit ends


def test_a_sample_is_hashed_once(config: RunConfig, tmp_path: Path) -> None:
    conversations = Counted(to_table(CHATS))
    sample = Sample(jury_of(HerePool(), config, tmp_path / "storage", CHATS).judging, conversations)
    for _ in range(3):
        assert sample.readings([], lambda done, total: None, at_once=2) == []
    assert conversations.passes == 1
