"""Parts of shards: no more is read than is asked for, and no flipped bit gives other values."""

import io
import re
from uuid import uuid4

import polars as pl
import pytest
import torch

import mascing
from mascing.errors import DataError, MascingError
from mascing.storage.object_storage import Storage
from mascing.storage.ranged import FOOTER_SEAL, Ranged, check_footer, footer_of
from mascing.storage.s3_client import S3Client
from mascing.storage.sealing import SEAL
from mascing.traces.shard_files import ALL, ShardFile, Wanted, read_groups
from mascing.traces.shards import encode
from mascing.traces.trace_set import TraceSet, samples_of
from tests.mascing.made_traces import SPEC, traces
from tests.mascing.runs.stored_traces import write_traces

NAME = "s3://bucket/traces/0.parquet"


class Counted:
    """A shard, and the ranges of it that were read."""

    def __init__(self, data: bytes) -> None:
        self.data, self.read = data, list[tuple[int, int]]()

    def open(self) -> ShardFile:
        return ShardFile(Ranged(NAME, len(self.data), self._range), "another name")

    @property
    def total(self) -> int:
        return sum(stop - start for start, stop in self.read)

    def _range(self, start: int, stop: int) -> bytes:
        self.read.append((start, stop))
        return self.data[start:stop]


@pytest.fixture(scope="module")
def large() -> bytes:
    return encode(list(samples_of(traces(1000, lengths=[200] * 1000))), SPEC)


def groups(file: ShardFile, wanted: Wanted = ALL) -> TraceSet:
    return read_groups([(file, group) for group in range(len(file.rows))], wanted)


def alike(one: TraceSet, other: TraceSet) -> bool:
    tensors = ("z", "selected", "offsets", "labels", "regions")
    same = all(torch.equal(getattr(one, name), getattr(other, name)) for name in tensors)
    return same and (one.ids, one.groups) == (other.ids, other.groups)


def test_footers_and_columns_are_read_alone(large: bytes) -> None:
    shard = Counted(large)
    file = shard.open()
    assert file.statistics.samples_C.sum() == 1000
    assert len(shard.read) == 1
    assert shard.total <= 2**16
    shard.read.clear()
    bare = groups(file, Wanted(logits=False))
    assert shard.total < len(large) / 4
    shard.read.clear()
    one = groups(file, Wanted(layers=(1,)))
    assert shard.total < len(large) / 2
    assert len(shard.read) <= 3 * len(file.rows)
    whole = groups(ShardFile(large, "whole"))
    assert torch.equal(bare.selected, whole.selected)
    assert torch.equal(one.z[:, 0], whole.z[:, 1])


def test_a_footer_that_is_longer_than_the_first_read_is_read_whole() -> None:
    notes = {"failed": "x" * 100_000}
    shard = Counted(encode(list(samples_of(traces(3))), SPEC, notes=notes))
    assert shard.open().metadata["failed"] == notes["failed"]
    assert len(shard.read) == 2


def test_no_flipped_bit_gives_other_values() -> None:
    data = encode(list(samples_of(traces(4))), SPEC, notes={"failed": "{}"})
    whole = Counted(data).open()
    unnoticed, told = 0, set()
    for place in range(len(data)):
        damaged = data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :]
        try:
            file = Counted(damaged).open()
            read = groups(file)
        except DataError as error:
            told.add(str(error))
            continue
        unnoticed += 1
        assert alike(read, groups(whole))
        assert {**file.metadata, SEAL: ""} == {**whole.metadata, SEAL: ""}
    for said in told:
        assert NAME in said
        assert re.search("checksum failed|damaged|no trace shard", said)
    # Of the whole file's seal, which such a read does not use, and of what the heads of pages say beside their values.
    assert unnoticed < len(data) / 20


def test_every_flipped_bit_of_a_footer_is_noticed_but_those_of_the_other_seal() -> None:
    data = encode(list(samples_of(traces(3))), SPEC)
    footer = footer_of(io.BytesIO(data))
    check_footer(footer, NAME)
    other = footer.index(SEAL.encode()) + len(SEAL) + 2
    for bit in range(8 * len(footer)):
        if other <= bit // 8 < other + 64:
            continue
        damaged = (int.from_bytes(footer) ^ (1 << (8 * len(footer) - 1 - bit))).to_bytes(len(footer))
        with pytest.raises(DataError, match=f"^checksum failed: .*{NAME}"):
            check_footer(damaged, NAME)


def test_a_footer_of_an_earlier_version_is_told() -> None:
    data = encode(list(samples_of(traces(3))), SPEC).replace(FOOTER_SEAL.encode(), b"mascing.fooler")
    with pytest.raises(DataError, match="carries none in its footer: it is damaged or of an earlier version: delete"):
        ShardFile(data, NAME)


def test_on_s3_no_more_is_read_than_is_asked_for(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    url, made = f"{s3_url}/{uuid4().hex}", traces(30, lengths=[2000] * 30)
    write_traces(Storage.open(url), made=made)
    sizes: list[int] = []
    body = S3Client._body

    def counted(
        self: S3Client, size: int | None, bucket: str, key: str, **part: str
    ) -> tuple[bytes, dict[str, object]]:
        data, head = body(self, size, bucket, key, **part)
        sizes.extend([len(data)] if key.endswith(".parquet") else [])
        return data, head

    monkeypatch.setattr(S3Client, "_body", counted)
    remote = mascing.traces(url)
    stored = sum(remote.sizes.values())

    def share() -> float:
        spent = sum(sizes)
        sizes.clear()
        return spent / stored

    assert remote.statistics().tokens == 60_000
    assert share() < 0.25
    table = remote.to_polars().group_by("selected").agg(pl.len()).collect()
    assert table.filter(pl.col("selected"))["len"].item() == 60_000 * 3 * 2
    assert share() < 0.6
    assert torch.equal(remote.to_torch().z, made.z)
    assert 1 <= share() < 1.1


def test_on_s3_a_damaged_part_is_named(s3_url: str) -> None:
    url = f"{s3_url}/{uuid4().hex}"
    storage = Storage.open(url)
    write_traces(storage, made=traces(30, lengths=[2000] * 30))
    remote = mascing.traces(url)
    name = remote.files[0].removeprefix(f"{url}/")
    data = storage.read(name)
    for place in (300, len(data) - 300):
        storage.overwrite(name, data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(MascingError, match=f"{url}/{name}"):
            list(remote.stored().without_logits().parts())
    storage.overwrite(name, data[:-1])
    with pytest.raises(MascingError, match=f"checksum failed: {url}/{name}"):
        remote.statistics()
    storage.remove(name)
    with pytest.raises(MascingError, match=f"{url}/{name} is missing"):
        remote.statistics()
