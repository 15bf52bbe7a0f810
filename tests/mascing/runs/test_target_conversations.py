"""The target conversations of the run that a mask's card names, as far as its storage has them."""

from pathlib import Path
from typing import Any

import pytest

from mascing.conversations.parquet_tables import to_table
from mascing.errors import StorageError
from mascing.runs.files import conversations_prefix
from mascing.runs.publications.target_conversations import shortest_targets
from mascing.runs.table_parts import put_parts
from mascing.schemas.facts import PrepareFacts
from mascing.schemas.finished import Prepared
from mascing.schemas.result import SplitSizes
from mascing.storage.manifests import StageOutput
from mascing.storage.object_storage import Storage
from tests.mascing import olmoe_folder

ROWS = [
    olmoe_folder.conversation("long", "a longer question than the others"),
    olmoe_folder.conversation("kept", "hi").model_copy(update={"set": "utility/facts"}),
    olmoe_folder.conversation("short", "hello"),
    olmoe_folder.conversation("middle", "hello there"),
]


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage.open(str(tmp_path))


def prepared(storage: Storage) -> str:
    output = StageOutput(storage, Prepared, "b", "0" * 16)
    shards = put_parts(output, conversations_prefix("dev"), [to_table(ROWS)])
    facts = PrepareFacts(splits=SplitSizes(train=0, dev=len(ROWS), test=0), sets={})
    return output.commit(shards, facts, rows_in=len(ROWS)).prefix


def test_the_shortest_targets_are_taken(storage: Storage) -> None:
    card = {"data": {"prepare": prepared(storage)}}
    assert [row.id for row in shortest_targets(storage, card, 2)] == ["short", "middle"]
    assert [row.id for row in shortest_targets(storage, card, 8)] == ["short", "middle", "long"]


@pytest.mark.parametrize("card", [None, [], {"data": {}}, {"data": {"prepare": "prepare/b-1111111111111111"}}])
def test_there_are_none_where_no_run_is_found(storage: Storage, card: Any) -> None:
    assert shortest_targets(storage, card, 8) == []


def test_a_run_that_cannot_be_read_is_refused(storage: Storage) -> None:
    prefix = prepared(storage)
    Path(storage.url, prefix, "manifest.json").write_text("{}")
    with pytest.raises(StorageError, match="manifest"):
        shortest_targets(storage, {"data": {"prepare": prefix}}, 8)
