"""Tables in parts: written with few rows in memory, and read by part or by position."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mascing.errors import StorageError
from mascing.runs.table_parts import PART_ROWS, Positions, StoredTable, put_parts
from mascing.schemas.facts import PrepareFacts
from mascing.schemas.finished import Prepared
from mascing.schemas.result import SplitSizes
from mascing.storage.manifests import StageOutput
from mascing.storage.object_storage import Storage

ROWS = 2 * PART_ROWS + 10


def stored(folder: Path, sizes: list[int]) -> tuple[Storage, Prepared]:
    """A stage with one table of numbers that came in pieces of these sizes."""
    storage = Storage.open(str(folder))
    output = StageOutput(storage, Prepared, "b", "0" * 16)
    shards = put_parts(output, "numbers-", pieces(sizes))
    facts = PrepareFacts(splits=SplitSizes(train=0, dev=0, test=0), sets={})
    return storage, output.commit(shards, facts, rows_in=sum(sizes))


def pieces(sizes: list[int]) -> Iterator[pa.Table]:
    start = 0
    for size in sizes:
        yield pa.table({"number": pa.array(range(start, start + size), pa.int64())})
        start += size


@pytest.mark.parametrize("sizes", [[ROWS], [7] * (ROWS // 7 + 1), [PART_ROWS, PART_ROWS], [3, 5 * PART_ROWS, 0, 4]])
def test_parts_hold_all_rows_in_order_however_they_came(tmp_path: Path, sizes: list[int]) -> None:
    storage, manifest = stored(tmp_path, sizes)
    table = StoredTable(storage, manifest, "numbers-")
    assert [row for part in table.parts() for row in part["number"].to_pylist()] == list(range(sum(sizes)))
    assert len(table) == sum(sizes)
    assert all(shard.rows == PART_ROWS for shard in manifest.shards[:-1])
    assert 0 < manifest.shards[-1].rows <= PART_ROWS
    assert [rows for _, rows in table.ranges()][-1].stop == sum(sizes)


@pytest.mark.parametrize(
    "positions",
    [
        range(5),
        range(PART_ROWS - 3, PART_ROWS + 3),
        np.array([ROWS - 1, 0, PART_ROWS, 0, 2 * PART_ROWS - 1]),
        np.random.default_rng(0).permutation(ROWS),
        np.array([], dtype=np.int64),
    ],
)
def test_rows_are_taken_in_the_order_that_is_asked(tmp_path: Path, positions: Positions) -> None:
    table = StoredTable(*stored(tmp_path, [ROWS]), "numbers-")
    assert table.take(positions)["number"].to_pylist() == list(positions)


def test_a_table_without_rows_keeps_its_columns(tmp_path: Path) -> None:
    table = StoredTable(*stored(tmp_path, [0]), "numbers-")
    assert len(table) == 0
    assert [part.column_names for part in table.parts()] == [["number"]] == [table.take([]).column_names]


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    storage, manifest = stored(tmp_path, [ROWS])
    damaged = manifest.shards[1].name
    path = tmp_path / manifest.prefix / damaged
    path.write_bytes(path.read_bytes()[:-9] + b"x" * 9)
    table = StoredTable(storage, manifest, "numbers-")
    assert len(table.take(range(10))) == 10
    with pytest.raises(StorageError, match=damaged):
        table.take([PART_ROWS])
