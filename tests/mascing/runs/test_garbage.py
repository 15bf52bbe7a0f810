"""What no finished run needs is deleted, and nothing else: not what a run writes, reads or finds again."""

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from mascing.runs.upkeep.garbage import collect_garbage, find_garbage
from mascing.storage import parquet
from mascing.storage.lease import Lease, Pace
from mascing.storage.manifests import StageOutput, shard_at
from mascing.storage.object_storage import Storage
from tests.mascing.storage.noted_stage import Noted, NotedFacts

TABLE = parquet.to_bytes(pa.table({"n": [1, 2, 3]}))
DAY = timedelta(days=1)
AT_ONCE = timedelta(seconds=-2)  # S3 tells whole seconds
PACE = Pace(beat=0.05, patience=0.5)
FINISHED, UNFINISHED = f"harvest/small-{'0' * 16}", "train/small-1"
NEEDED = {
    f"{FINISHED}/manifest.json", f"{FINISHED}/a.parquet", "traces/named.parquet", "runs/r/result.json", "index.html",
    "registry/m/b/candidate.json", "my-own/notes.txt",
}  # fmt: skip
GARBAGE = {
    f"{FINISHED}/of-another-writer.parquet": "no manifest names it",
    f"{UNFINISHED}/unit-0.parquet": "unfinished stage",
    f"{UNFINISHED}/unit-1.parquet": "unfinished stage",
    "traces/of-nobody.parquet": "may be of a stopped run",
    "replies/of-nobody.parquet": "may be of a stopped run",
}


def fill(storage: Storage) -> None:
    for name in (NEEDED | GARBAGE.keys()) - {f"{FINISHED}/manifest.json"}:
        storage.create(name, TABLE)
    output = StageOutput(storage, Noted, "small", "0" * 16)
    shards = [output.put("a.parquet", TABLE, rows=3), shard_at("traces/named.parquet", TABLE, rows=3)]
    output.commit(shards, NotedFacts(), rows_in=6)


@pytest.fixture
def old(tmp_path: Path) -> Storage:
    """A filled storage of which everything was written two days ago."""
    storage = Storage.open(str(tmp_path))
    fill(storage)
    (tmp_path / "train" / ".tmp-1").write_bytes(b"half a shard")
    for path in tmp_path.rglob("*"):
        age(path)
    return storage


def age(path: Path) -> None:
    written = path.stat().st_mtime - 2 * 86_400
    os.utime(path, (written, written))


def found(storage: Storage, older_than: timedelta = DAY) -> dict[str, str]:
    return {each.stored.name: each.why for each in find_garbage(storage, older_than, PACE).garbage}


def test_what_nothing_needs_is_found_with_the_reason(old: Storage) -> None:
    assert found(old) == {**GARBAGE, "train/.tmp-1": "temporary file"}
    assert set(old.list()) == NEEDED | GARBAGE.keys()


def test_what_is_found_is_deleted_and_nothing_else(storage: Storage) -> None:
    fill(storage)
    told: list[tuple[int, int]] = []
    deleted = collect_garbage(storage, AT_ONCE, lambda done, total: told.append((done, total)), PACE).garbage
    assert {each.stored.name: each.why for each in deleted} == GARBAGE
    assert told[-1] == (len(deleted), len(deleted))
    assert set(storage.list()) - {"leases/gc.json"} == NEEDED
    assert collect_garbage(storage, AT_ONCE, pace=PACE).garbage == []


def test_what_is_young_stays(tmp_path: Path) -> None:
    storage = Storage.open(str(tmp_path))
    fill(storage)
    assert found(storage) == {}
    assert collect_garbage(storage, DAY, pace=PACE).garbage == []


def test_a_stage_that_was_written_to_lately_keeps_its_old_units(old: Storage) -> None:
    old.create(f"{UNFINISHED}/unit-2.parquet", TABLE)
    assert not [name for name in found(old) if name.startswith(UNFINISHED)]


def test_a_run_that_works_keeps_its_unfinished_stages_and_the_pieces_that_it_may_take(old: Storage) -> None:
    with Lease.hold(old, "run", pace=PACE):
        collected = collect_garbage(old, DAY, pace=PACE)
    assert {each.stored.name for each in collected.garbage} == {
        f"{FINISHED}/of-another-writer.parquet", "train/.tmp-1",
    }  # fmt: skip
    assert [holder.pid for holder in collected.at_work] == [os.getpid()]


def test_a_lease_that_nobody_holds_stands_in_no_way_and_goes(old: Storage, tmp_path: Path) -> None:
    with Lease.hold(old, "run", pace=PACE):
        held = old.read("leases/run.json")
    old.overwrite("leases/run.json", held)  # as a killed holder leaves it
    age(tmp_path / "leases" / "run.json")
    assert found(old) == {**GARBAGE, "train/.tmp-1": "temporary file", "leases/run.json": "lease of nobody"}


@pytest.mark.parametrize("damage", [lambda data: data.replace(b"small", b"smalk"), lambda data: b"[]"])
def test_a_damaged_manifest_keeps_whatever_it_may_have_named(
    old: Storage, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / FINISHED / "manifest.json"
    path.write_bytes(damage(path.read_bytes()))
    age(path)
    assert {name for name in found(old) if name.startswith(("traces", "replies", FINISHED))} == set()


def test_a_storage_that_cannot_be_written_is_looked_at(old: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "not permitted")

    monkeypatch.setattr("os.link", refuse)
    monkeypatch.setattr("os.replace", refuse)
    assert found(old).keys() >= GARBAGE.keys()
