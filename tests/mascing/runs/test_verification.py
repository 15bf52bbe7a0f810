"""Everything stored is read again, and what is damaged is named with what to do."""

import re

import pyarrow as pa
import pytest

from mascing.models.checkpoint_names import NamedCheckpoint
from mascing.runs.finished_run import write_record
from mascing.runs.registry import publish
from mascing.runs.run_folder import RunFolder
from mascing.runs.upkeep.inventory import is_manifest
from mascing.runs.upkeep.verification import verify
from mascing.schemas.cards.suppression_curve import Audit
from mascing.schemas.config import AuditConfig
from mascing.schemas.facts import MaskFacts
from mascing.schemas.finished import MaskStored
from mascing.storage import parquet
from mascing.storage.manifests import StageOutput, shard_at
from mascing.storage.object_storage import Storage
from mascing.storage.sealing import seal_json, seal_text
from tests.mascing.storage.noted_stage import Noted, NotedFacts

TABLE = parquet.to_bytes(pa.table({"n": [1, 2, 3]}))
AUDIT = Audit(model="m", behaviour="b", set="target", ranking=AuditConfig().ranking, experts=4, baseline={}, points=())
STAGE, MASK = f"harvest/small-{'0' * 16}", f"masks/first-{'0' * 16}"
CHECKED = {
    f"{STAGE}/a.parquet": f"is missing or damaged .*: delete the folder {STAGE} and run again",
    "traces/0.parquet": f"is missing or damaged .*: delete the folder {STAGE} and traces/0.parquet and run again",
    f"{STAGE}/manifest.json": "manifest.json is damaged: delete its folder and run again",
    f"{MASK}/manifest.json": "manifest.json is damaged: keep its folder while a channel holds it",
    "replies/0.parquet": "checksum failed: .*replies/0.parquet is damaged: delete it and run again",
    "index.html": "checksum failed: .*index.html (is damaged|carries none).*: delete it and run again",
    "runs/b-m-0/run.yaml": "checksum failed: .*run.yaml (is damaged|carries none).*: delete it and run again",
    "runs/b-m-0/audit.json": "checksum failed: .*audit.json is damaged: delete it and run again",
    "checks/m/policy/20260101T000000.json": "checksum failed: .*20260101T000000.json is damaged: delete it",
    f"registry/m-{'a' * 12}/policy/candidate.json": "checksum failed: .*candidate.json is damaged: restore an earlier",
}


@pytest.fixture
def filled(storage: Storage) -> Storage:
    """A storage with a finished stage that names a piece, a piece that nobody names, a run, a mask and a channel."""
    storage.create("traces/0.parquet", TABLE)
    storage.create("replies/0.parquet", TABLE)
    output = StageOutput(storage, Noted, "small", "0" * 16)
    shards = [output.put("a.parquet", TABLE, rows=3), shard_at("traces/0.parquet", TABLE, rows=3)]
    output.commit(shards, NotedFacts(), rows_in=6)
    masks = StageOutput(storage, MaskStored, "first", "0" * 16)
    masks.commit([masks.put("mask", b"x", rows=1)], MaskFacts(), rows_in=1)
    publish(storage, NamedCheckpoint("m", "a" * 64), "policy", masks.prefix)
    write_record(storage, RunFolder("b-m-0").audit, AUDIT)
    storage.overwrite("index.html", seal_text("<p>", ".html"))
    storage.overwrite("runs/b-m-0/run.yaml", seal_text("seed: 1", ".yaml"))
    storage.create("checks/m/policy/20260101T000000.json", seal_json("{}"))
    storage.overwrite("notes.txt", b"of the user's own")
    return storage


def test_what_is_whole_is_counted(filled: Storage) -> None:
    told: list[tuple[int, int]] = []
    found = verify(filled, lambda done, total: told.append((done, total)))
    assert found.damaged == ()
    sizes = {entry.name: entry.bytes for entry in filled.entries()}
    assert (found.objects, found.unchecked) == (len(sizes) - 1, 1)  # but for the notes
    assert found.bytes == sum(sizes.values()) - sizes["notes.txt"]
    others = {f"{MASK}/mask", *(name for name in CHECKED if not is_manifest(name))}  # manifests are checked when read
    assert told[-1] == (len(others), len(others))


@pytest.mark.parametrize("name", CHECKED)
def test_a_flipped_bit_is_found_wherever_it_is(filled: Storage, name: str) -> None:
    data = filled.read(name)
    middle = len(data) // 2
    filled.overwrite(name, data[:middle] + bytes([data[middle] ^ 4]) + data[middle + 1 :])
    (line,) = verify(filled).damaged
    assert filled.locate(name) in line
    assert re.search(CHECKED[name], line)


def test_what_a_manifest_names_and_is_gone_is_missing(filled: Storage) -> None:
    filled.remove("traces/0.parquet")
    filled.remove(f"{MASK}/mask")
    assert len(verify(filled).damaged) == 2
