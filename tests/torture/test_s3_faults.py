"""The commit protocol over a network that loses answers, and on servers that cannot be trusted."""

import os
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from uuid import uuid4

import pytest
from fsspec.config import conf

from mascing.errors import ConflictError, StorageError
from mascing.models.checkpoint_names import NamedCheckpoint
from mascing.runs.registry import current, publish
from mascing.schemas.facts import MaskFacts
from mascing.schemas.finished import MaskStored
from mascing.storage.manifests import StageOutput, read_shard
from mascing.storage.object_storage import Storage
from mascing.storage.s3_client import RetryPolicy, S3Client
from mascing.storage.s3_store import S3Store
from mascing.storage.urls import BucketPrefix, parse_url
from tests.mascing.storage.noted_stage import Noted, NotedFacts
from tests.torture.s3_proxy import BEFORE, Fault, faulty_proxy


@dataclass
class Faults:
    """Faults of the next `times` answers to `method` on a path ending in `ending`, after `skip` such answers."""

    method: str = ""
    ending: str = ""
    fault: Fault = None
    times: int = 0
    skip: int = 0

    def plan(self, method: str, path: str, status: int) -> Fault:
        early = self.fault in BEFORE
        fits = method == self.method and path.partition("?")[0].endswith(self.ending) and (status == 0) == early
        if not fits or self.times == 0:
            return None
        if self.skip:
            self.skip -= 1
            return None
        self.times -= 1
        return self.fault

    def expect(self, method: str, ending: str, fault: Fault, times: int = 1, skip: int = 0) -> None:
        self.method, self.ending, self.fault, self.times, self.skip = method, ending, fault, times, skip


@pytest.fixture(scope="module")
def faults() -> Faults:
    return Faults()


@pytest.fixture(scope="module")
def proxied_url(s3_url: str, faults: Faults) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as settings, faulty_proxy(os.environ["AWS_ENDPOINT_URL"], faults.plan) as url:
        settings.setenv("AWS_ENDPOINT_URL", url)
        yield f"{s3_url}/{uuid4().hex}"


QUICK = RetryPolicy(first_pause=0.01, silence=1.0)
PARTS = 5 * 2**20
"""S3's smallest part, except for the last one."""


@pytest.fixture(scope="module")
def storage(proxied_url: str) -> Storage:
    Storage.open(proxied_url)
    return Storage(store(proxied_url))


def store(url: str, policy: RetryPolicy = QUICK) -> S3Store:
    place = parse_url(url)
    assert isinstance(place, BucketPrefix)
    return S3Store(place, S3Client(policy), single_put=PARTS, part=PARTS)


WRITE_FAULTS: tuple[Fault, ...] = (
    "lose the answer", "answer 503 after", "answer 500 instead", "answer 503 instead", "answer 409 instead",
    "reset instead", "keep silent instead", "flip a bit of the request",
)  # fmt: skip
READ_FAULTS: tuple[Fault, ...] = (
    "lose the answer", "answer 500 instead", "answer 503 after", "reset instead", "keep silent instead", "flip a bit",
    "cut the body", "dribble",
)  # fmt: skip


@pytest.mark.parametrize("fault", WRITE_FAULTS)
def test_a_create_that_fails_on_the_way_is_repeated_and_adopts_its_own_object(
    storage: Storage, faults: Faults, fault: Fault
) -> None:
    name = uuid4().hex
    faults.expect("PUT", name, fault, times=2)
    storage.create(name, b"content")
    assert faults.times == 0
    assert storage.read(name) == b"content"


@pytest.mark.parametrize("fault", WRITE_FAULTS)
def test_a_swap_that_fails_on_the_way_is_made_once(storage: Storage, faults: Faults, fault: Fault) -> None:
    name = uuid4().hex
    storage.create(name, b"before")
    version = storage.read_versioned(name)[1]
    faults.expect("PUT", name, fault, times=2)
    storage.swap(name, b"after", version)
    assert faults.times == 0
    assert storage.read(name) == b"after"
    with pytest.raises(ConflictError):
        storage.swap(name, b"later", version)


@pytest.mark.parametrize("fault", READ_FAULTS)
def test_a_read_that_fails_on_the_way_is_repeated(storage: Storage, faults: Faults, fault: Fault) -> None:
    name = uuid4().hex
    storage.create(name, b"content" * 1000)
    faults.expect("GET", name, fault, times=2)
    assert storage.read(name) == b"content" * 1000
    assert faults.times == 0


def test_a_swap_whose_answer_is_lost_is_refused_where_another_writer_came_between(
    storage: Storage, faults: Faults, proxied_url: str
) -> None:
    name = uuid4().hex
    storage.create(name, b"before")
    version = storage.read_versioned(name)[1]
    storage.swap(name, b"theirs", version)
    faults.expect("PUT", name, "answer 503 instead")
    with pytest.raises(ConflictError):
        storage.swap(name, b"mine", version)
    assert faults.times == 0
    assert storage.read(name) == b"theirs"


@pytest.mark.parametrize(
    ("fault", "said"), [("flip a bit", "other bytes arrived"), ("cut the body", "fewer bytes arrived")]
)
def test_bytes_that_stay_wrong_are_called_that_with_the_name_of_the_object(
    storage: Storage, faults: Faults, fault: Fault, said: str
) -> None:
    name = uuid4().hex
    storage.create(name, b"content" * 1000)
    faults.expect("GET", name, fault, times=20)
    with pytest.raises(StorageError) as caught:
        storage.read(name)
    assert faults.times == 16
    faults.times = 0
    assert str(caught.value) == (
        f"checksum failed: {storage.locate(name)}: {said} than the 7000 that were stored (4 tries): delete it and run "
        "again, if it stays so"
    )


def test_a_server_that_keeps_failing_is_told_with_the_number_of_tries(proxied_url: str, faults: Faults) -> None:
    storage = Storage(store(proxied_url, RetryPolicy(tries=3, first_pause=0.01)))
    faults.expect("PUT", "x", "answer 500 instead", times=20)
    with pytest.raises(StorageError, match=r"S3 answered InternalError \(3 tries\): run again"):
        storage.create("x", b"x")
    assert faults.times == 17
    faults.times = 0


def test_no_try_begins_after_the_patience(proxied_url: str, faults: Faults) -> None:
    storage = Storage(store(proxied_url, RetryPolicy(patience=0.5, silence=0.3)))
    faults.expect("GET", "x", "keep silent instead", times=20)
    with pytest.raises(StorageError, match="the S3 endpoint does not answer"):
        storage.read("x")
    assert faults.times >= 18, "a try takes 0.3 seconds, so a third would begin after the half second"
    faults.times = 0


@pytest.mark.parametrize("fault", [*WRITE_FAULTS[:4], None])
def test_a_large_object_goes_in_parts_and_appears_as_a_whole(storage: Storage, faults: Faults, fault: Fault) -> None:
    name, data = uuid4().hex, os.urandom(2 * PARTS + 1000)
    if fault is not None:
        faults.expect("POST", name, fault, skip=1, times=1)  # the first starts the upload, the second joins the parts
    storage.create(name, data)
    assert faults.times == 0
    assert storage.read(name) == data
    with pytest.raises(ConflictError):
        storage.create(name, data[::-1])
    assert storage.read(name) == data
    assert storage.leftovers() == []


def test_a_large_object_that_fails_leaves_nothing(proxied_url: str, faults: Faults) -> None:
    storage = Storage(store(proxied_url, RetryPolicy(tries=2, first_pause=0.01)))
    faults.expect("PUT", "large", "answer 503 instead", skip=1, times=20)
    with pytest.raises(StorageError, match="SlowDown"):
        storage.create("large", os.urandom(2 * PARTS))
    faults.times = 0
    assert not storage.exists("large")
    assert storage.leftovers() == []


def test_an_upload_that_nobody_completed_is_found_and_thrown_away(storage: Storage, proxied_url: str) -> None:
    bucket, _, prefix = proxied_url.removeprefix("s3://").partition("/")
    S3Client().call("create_multipart_upload", Bucket=bucket, Key=f"{prefix}/half")
    (leftover,) = storage.leftovers()
    assert (leftover.stored.name, leftover.what) == ("half", "uncompleted upload")
    leftover.discard()
    assert storage.leftovers() == []


def test_a_key_for_encryption_in_the_settings_goes_with_each_put(
    proxied_url: str, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "of-the-team"}
    monkeypatch.setitem(conf, "s3", {"s3_additional_kwargs": wanted})
    with pytest.raises(StorageError, match="S3 answered InternalError"):  # the test's server has no keys
        Storage.open(f"{proxied_url}/encrypted")


def test_a_create_over_another_writers_different_object_is_a_conflict_whatever_is_lost(
    storage: Storage, faults: Faults
) -> None:
    storage.create("taken", b"theirs")
    faults.expect("PUT", "taken", "lose the answer")
    with pytest.raises(ConflictError):
        storage.create("taken", b"mine")
    assert faults.times == 0
    assert storage.read("taken") == b"theirs"


def test_a_stage_whose_commit_answer_is_lost_is_finished_once(storage: Storage, faults: Faults) -> None:
    output = StageOutput(storage, Noted, uuid4().hex, "0" * 16)
    shard = output.put("shard", b"x" * 100_000, rows=1)
    faults.expect("PUT", "manifest.json", "lose the answer")
    manifest = output.commit([shard], NotedFacts(), rows_in=1)
    assert faults.times == 0
    assert output.finished() == manifest
    assert read_shard(storage, manifest, "shard") == b"x" * 100_000


def test_a_publication_whose_answer_is_lost_is_in_the_history_once(storage: Storage, faults: Faults) -> None:
    model, prefixes = NamedCheckpoint("m", "a" * 64), []
    for name in ("first", "second"):
        output = StageOutput(storage, MaskStored, name, "0" * 16)
        output.commit([output.put("mask", name.encode(), rows=1)], MaskFacts(), rows_in=1)
        prefixes.append(output.prefix)
    for prefix in prefixes:
        faults.expect("PUT", "candidate.json", "lose the answer")
        publish(storage, model, "policy", prefix)
        assert faults.times == 0
    channel = current(storage, model, "policy")
    assert channel is not None
    assert (channel.mask, channel.history) == (prefixes[1], (prefixes[0],))


@pytest.mark.parametrize("fault", WRITE_FAULTS)
def test_a_storage_opens_on_a_server_that_fails_once(proxied_url: str, faults: Faults, fault: Fault) -> None:
    faults.expect("PUT", ".mascing-probe", fault)
    store(f"{proxied_url}/{uuid4().hex}").probe()
    assert faults.times == 0


@pytest.mark.parametrize(("ignored", "skip"), [("If-None-Match", 1), ("If-Match", 2)])
def test_a_server_that_ignores_conditions_is_refused(proxied_url: str, faults: Faults, ignored: str, skip: int) -> None:
    """The probe sends three PUTs: as new, as new again, and over a version that never existed."""
    faults.expect("PUT", ".mascing-probe", "answer 200 anyway", skip=skip)
    with pytest.raises(StorageError, match="ignores If-None-Match or If-Match"):
        Storage.open(proxied_url)
    assert faults.times == 0


def test_under_faults_at_random_nothing_is_lost_and_nothing_is_wrong(s3_url: str) -> None:
    """Four writers store the same units at once, each with bytes of its own; the first one's hold for all."""
    chance = random.Random(0)
    waits = ("keep silent instead", "dribble")
    quick = [fault for fault in dict.fromkeys(WRITE_FAULTS + READ_FAULTS) if fault not in waits]

    def plan(method: str, path: str, status: int) -> Fault:
        return chance.choice(quick) if chance.random() < 0.2 else None

    def store_all(writer: int) -> dict[str, bytes]:
        kept = {}
        for unit in range(20):
            name, mine = f"units/{unit}", f"unit {unit} of {writer} ".encode() * 50
            try:
                faulted.create(name, mine)
                kept[name] = mine
            except ConflictError:
                kept[name] = faulted.read(name)
        return kept

    url = f"{s3_url}/{uuid4().hex}"
    with pytest.MonkeyPatch.context() as settings, faulty_proxy(os.environ["AWS_ENDPOINT_URL"], plan) as proxy:
        settings.setenv("AWS_ENDPOINT_URL", proxy)
        faulted = Storage(store(url, RetryPolicy(first_pause=0.01, silence=1.0, checksum_tries=8)))
        with ThreadPoolExecutor(4) as pool:
            kept = list(pool.map(store_all, range(4)))
    assert kept == [kept[0]] * 4
    plain = Storage(store(url))
    assert {name: plain.read(name) for name in plain.list()} == kept[0]
