"""Conversations that are asked: rows of a table, with names that only what a reply answers decides."""

import numpy as np

from mascing.conversations.parquet_tables import to_table
from mascing.runs.stored_conversations import StoredConversations
from mascing.tasks.streaming.asked import Asked
from mascing.tasks.streaming.rows import Rows
from tests.mascing import olmoe_folder

CHATS = [olmoe_folder.conversation(f"c{number}", f"question {number}") for number in range(300)]


def test_the_blocks_hold_all_rows_once_in_their_order() -> None:
    blocks = [*Asked.given(CHATS).blocks()]
    assert np.concatenate([positions for _, positions in blocks]).tolist() == list(range(300))
    assert len({name for name, _ in blocks}) == len(blocks) > 1


def test_a_block_is_named_alike_wherever_its_rows_stand() -> None:
    moved = Asked(StoredConversations(to_table(CHATS[::-1]), np.arange(300)[::-1]))
    assert [name for name, _ in moved.blocks()] == [name for name, _ in Asked.given(CHATS).blocks()]


def test_a_sample_is_asked_under_an_id_of_its_own() -> None:
    plain, sample = Asked.given(CHATS), Asked(StoredConversations(to_table(CHATS)), sample=2)
    [asked] = sample.read(Rows("", range(7, 8)))
    assert (asked.id, sample.id_of(asked)) == ("c7#2", "c7")
    assert not {name for name, _ in plain.blocks()} & {name for name, _ in sample.blocks()}
