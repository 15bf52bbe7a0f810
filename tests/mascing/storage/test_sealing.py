"""No bit of what is stored changes unnoticed, and what is damaged is named."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from mascing.errors import DataError, MascingError
from mascing.models.checkpoint_names import NamedCheckpoint
from mascing.routers.spec import RouterSpec
from mascing.runs.finished_run import read_audit, write_record
from mascing.runs.registry import current, publish
from mascing.runs.run_folder import RunFolder
from mascing.schemas.cards.suppression_curve import Audit
from mascing.schemas.config import AuditConfig
from mascing.schemas.facts import MaskFacts
from mascing.schemas.finished import MaskStored
from mascing.storage import parquet
from mascing.storage.manifests import StageOutput
from mascing.storage.object_storage import Storage
from mascing.storage.sealing import SEAL, check, open_json, seal_json
from mascing.traces.shards import encode
from mascing.traces.trace_set import SampleTrace

TABLE = pa.table({"id": ["a", "b", "c"], "n": [1, 2, 3]}, metadata={"k": "v"})
AUDIT = Audit(model="m", behaviour="b", set="target", ranking=AuditConfig().ranking, experts=4, baseline={}, points=())


def flipped(data: bytes, every: int) -> list[bytes]:
    """Copies of the bytes, each with another bit flipped; an odd ``every`` gives every bit of a byte its turn."""
    number = int.from_bytes(data)
    return [(number ^ (1 << bit)).to_bytes(len(data)) for bit in range(0, 8 * len(data), every)]


def test_every_flipped_bit_of_a_table_is_noticed_and_the_file_named() -> None:
    data = parquet.to_bytes(TABLE)
    assert parquet.from_bytes(data, "replies/x.parquet").equals(TABLE, check_metadata=True)
    for damaged in flipped(data, every=1):
        with pytest.raises(DataError, match=r"^checksum failed: replies/x\.parquet"):
            parquet.from_bytes(damaged, "replies/x.parquet")
    for cut in (data[:-1], data[:100], b"", data + b"\0"):
        with pytest.raises(DataError, match=r"^checksum failed: replies/x\.parquet"):
            parquet.from_bytes(cut, "replies/x.parquet")


def test_equal_tables_are_equal_bytes_that_other_readers_read() -> None:
    data = parquet.to_bytes(TABLE)
    assert parquet.to_bytes(TABLE) == data
    assert pq.read_table(io.BytesIO(data)).equals(TABLE)
    digest = pq.read_metadata(io.BytesIO(data)).metadata[SEAL.encode()].decode()
    assert digest in data.decode("latin-1")
    assert data.count(digest.encode()) == 1  # and not a second time in Arrow's schema, which would not be checked


def test_a_table_within_a_table_is_not_taken_for_its_seal() -> None:
    inner = parquet.to_bytes(TABLE)
    table = pa.table({"file": pa.array([inner], pa.binary())})
    data = parquet.to_bytes(table)
    assert parquet.from_bytes(data).equals(table)
    with pytest.raises(DataError, match="checksum failed"):
        parquet.from_bytes(data.replace(b"mascing.sha256", b"mascing.sha255"))


def test_a_table_of_an_earlier_version_is_told() -> None:
    file = io.BytesIO()
    pq.write_table(TABLE, file)
    with pytest.raises(DataError, match="carries none: it is damaged or of an earlier version: delete it"):
        parquet.from_bytes(file.getvalue(), "old.parquet")


def test_every_flipped_bit_of_a_trace_shard_is_noticed() -> None:
    spec = RouterSpec("olmoe", (0,), n_experts=4, top_k=2, scoring="softmax")
    z_TLE = torch.randn(3, 1, 4, generator=torch.Generator().manual_seed(0)).half()
    selected = z_TLE.topk(2, dim=-1).indices.to(torch.uint8)
    data = encode([SampleTrace("id", "group", 1, z_TLE, torch.zeros(3, dtype=torch.uint8), selected)], spec)
    check(data, "shard")
    for damaged in flipped(data, every=11):
        with pytest.raises(DataError, match="checksum failed: shard"):
            check(damaged, "shard")


def test_json_keeps_its_text_beside_the_seal() -> None:
    text = '{\n "a": "quoted \\", \\"mascing.sha256\\": \\"",\n "b": [1]\n}\n'
    assert open_json(seal_json(text), "x").decode() == text
    assert open_json(text.encode(), "of an earlier version").decode() == text


def test_every_flipped_bit_of_what_a_run_leaves_as_json_is_noticed_and_the_object_named(storage: Storage) -> None:
    run, model = RunFolder("b-m-0"), NamedCheckpoint("m", "a" * 64)
    write_record(storage, run.audit, AUDIT)
    output = StageOutput(storage, MaskStored, "first", "0" * 16)
    manifest = output.commit([output.put("mask", b"x", rows=1)], MaskFacts(), rows_in=1)
    channel = publish(storage, model, "policy", output.prefix)
    readers = {
        run.audit: (lambda: read_audit(storage, run), AUDIT),
        f"{output.prefix}/manifest.json": (output.finished, manifest),
        f"registry/{channel.checkpoint}/policy/candidate.json": (lambda: current(storage, model, "policy"), channel),
    }
    for path, (read, content) in readers.items():
        data = storage.read(path)
        assert read() == content
        for damaged in flipped(data, every=31 if storage.url.startswith("/") else 211):
            storage.overwrite(path, damaged)
            with pytest.raises(MascingError) as caught:
                read()
            assert storage.locate(path) in str(caught.value)
        storage.overwrite(path, data)
        assert read() == content
