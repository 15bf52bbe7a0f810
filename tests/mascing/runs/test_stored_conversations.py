"""Stored conversations are a sequence whose items are read where they are stored."""

import pickle
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pytest

from mascing.conversations.parquet_tables import to_table
from mascing.runs.stored_conversations import Located, StoredConversations
from mascing.runs.table_parts import PART_ROWS, LocalTable, StoredTable, put_parts
from mascing.schemas.facts import PrepareFacts
from mascing.schemas.finished import Prepared
from mascing.schemas.result import SplitSizes
from mascing.storage.manifests import StageOutput
from mascing.storage.object_storage import Storage
from tests.mascing import olmoe_folder

CHATS = [olmoe_folder.conversation(f"c{number}", f"question {number}") for number in range(PART_ROWS + 20)]


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> StoredConversations:
    """All chats, as a stage left them in two parts."""
    storage = Storage.open(str(tmp_path_factory.mktemp("storage")))
    output = StageOutput(storage, Prepared, "b", "0" * 16)
    shards = put_parts(output, "chats-", [to_table(CHATS)])
    facts = PrepareFacts(splits=SplitSizes(train=0, dev=0, test=0), sets={})
    return StoredConversations(StoredTable(storage, output.commit(shards, facts, rows_in=len(CHATS)), "chats-"))


def test_they_are_a_sequence_of_all_rows(stored: StoredConversations) -> None:
    assert [*stored] == CHATS
    assert len(stored) == len(CHATS)
    assert (stored[3], stored[-1]) == (CHATS[3], CHATS[-1])
    assert [*stored[PART_ROWS - 2 : PART_ROWS + 2]] == CHATS[PART_ROWS - 2 : PART_ROWS + 2]


def test_some_of_them_keep_their_positions_in_the_table(stored: StoredConversations) -> None:
    last = stored.where(lambda row: int(row.id[1:]) >= PART_ROWS)
    assert last.positions.tolist() == [*range(PART_ROWS, PART_ROWS + 20)]  # type: ignore[union-attr]
    turned = stored.at([PART_ROWS, 0])
    assert [*turned] == [CHATS[PART_ROWS], CHATS[0]]
    assert turned.located() == [
        Located(PART_ROWS, f"c{PART_ROWS}", f"group-c{PART_ROWS}", "target"),
        Located(0, "c0", "group-c0", "target"),
    ]


def test_none_of_them_are_an_empty_sequence(stored: StoredConversations) -> None:
    none = stored.where(lambda row: False)
    assert ([*none], len(none), none.located()) == ([], 0, [])


def test_a_worker_receives_positions_and_not_the_rows(stored: StoredConversations) -> None:
    sent = pickle.dumps(stored.at(np.arange(1000).tolist()))
    assert len(sent) < 20 * 1000
    assert [*pickle.loads(sent)] == CHATS[:1000]  # noqa: S301 - our own bytes


def test_rows_in_memory_are_read_alike() -> None:
    here = StoredConversations(to_table(CHATS[:5]))
    assert [*here[1:3]] == CHATS[1:3]
    assert [row.position for row in here.located()] == [*range(5)]


def test_a_copy_on_the_local_disk_holds_the_same_rows_and_is_made_once(
    stored: StoredConversations, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[LocalTable] = []
    plain = LocalTable.__init__

    def noted(self: LocalTable, parts: Iterable[pa.Table]) -> None:
        made.append(self)
        plain(self, parts)

    monkeypatch.setattr(LocalTable, "__init__", noted)
    order = [PART_ROWS + 3, 0, PART_ROWS - 1, 0]
    for _ in range(2):
        copy = stored.at(order).here()
        assert [*copy] == [copy[number] for number in range(4)] == [CHATS[position] for position in order]
        assert copy.here() is copy
    assert len(made) == 1
    assert len(made[0]) == len(CHATS)
    assert [*stored.here()] == CHATS
