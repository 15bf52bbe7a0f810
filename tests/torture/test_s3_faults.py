"""The commit protocol over a network that loses answers, and on servers that cannot be trusted."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import uuid4

import pytest

from mascing.errors import ConflictError, StorageError
from mascing.models.checkpoint_names import NamedCheckpoint
from mascing.runs.registry import current, publish
from mascing.schemas.facts import MaskFacts
from mascing.schemas.finished import MaskStored
from mascing.storage.manifests import StageOutput, read_shard
from mascing.storage.object_storage import Storage
from tests.mascing.storage.noted_stage import Noted, NotedFacts
from tests.torture.s3_proxy import Fault, faulty_proxy


@dataclass
class Faults:
    """Faults of the next `times` answers to `method` on a path ending in `ending`, after `skip` such answers."""

    method: str = ""
    ending: str = ""
    fault: Fault = None
    times: int = 0
    skip: int = 0

    def plan(self, method: str, path: str, status: int) -> Fault:
        early = self.fault == "answer 503 instead"
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


@pytest.fixture(scope="module")
def storage(proxied_url: str) -> Storage:
    return Storage.open(proxied_url)


@pytest.mark.parametrize("fault", ["lose the answer", "answer 503 instead"])
def test_a_create_whose_answer_is_lost_is_repeated_and_adopts_its_own_object(
    storage: Storage, faults: Faults, fault: Fault
) -> None:
    name = uuid4().hex
    faults.expect("PUT", name, fault)
    storage.create(name, b"content")
    assert faults.times == 0
    assert storage.read(name) == b"content"


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


def test_a_flipped_bit_is_noticed(storage: Storage, faults: Faults) -> None:
    output = StageOutput(storage, Noted, uuid4().hex, "0" * 16)
    manifest = output.commit([output.put("shard", b"x" * 1000, rows=1)], NotedFacts(), rows_in=1)
    faults.expect("GET", "shard", "flip a bit", times=20)
    with pytest.raises(StorageError):
        read_shard(storage, manifest, "shard")
    assert faults.times < 20
    faults.times = 0


@pytest.mark.parametrize(("ignored", "skip"), [("If-None-Match", 1), ("If-Match", 2)])
def test_a_server_that_ignores_conditions_is_refused(proxied_url: str, faults: Faults, ignored: str, skip: int) -> None:
    """The probe sends three PUTs: as new, as new again, and over a version that never existed."""
    faults.expect("PUT", ".mascing-probe", "answer 200 anyway", skip=skip)
    with pytest.raises(StorageError, match="ignores If-None-Match or If-Match"):
        Storage.open(proxied_url)
    assert faults.times == 0
