"""Models on object storage: one copy a machine, and hashes of weights that are computed once."""

import json
import os
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import s3fs

from mascing.errors import ModelError
from mascing.models.checkpoints import checkpoint_fingerprint, local_folder
from mascing.models.copies import weight_digests
from mascing.models.loading import load
from mascing.schemas.config import ModelConfig
from tests.mascing.olmoe_folder import save


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(weight_digests, "_SMALL", 0)
    monkeypatch.setattr(weight_digests, "_TICK_SECONDS", 0.0)
    return tmp_path / "cache" / "mascing"


@pytest.fixture(scope="module")
def s3_client(s3_url: str) -> s3fs.S3FileSystem:
    return s3fs.S3FileSystem(skip_instance_cache=True, use_listings_cache=False)


@pytest.fixture
def url(folder: Path, s3_url: str, s3_client: s3fs.S3FileSystem) -> str:
    place = f"{s3_url}/{uuid4().hex}/tiny"
    s3_client.put(str(folder), place, recursive=True)
    return place


@pytest.fixture
def got(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were copied from S3, in order."""
    names: list[str] = []
    get_file = s3fs.S3FileSystem.get_file

    def get(self: Any, path: str, *rest: Any, **more: Any) -> Any:
        names.append(path.rsplit("/", 1)[1])
        return get_file(self, path, *rest, **more)

    monkeypatch.setattr(s3fs.S3FileSystem, "get_file", get)
    return names


def copied(url: str) -> Path:
    with local_folder(ModelConfig(path=url)) as place:
        return place


def test_a_stored_model_is_copied_once_and_loads_from_the_copy(folder: Path, url: str, got: list[str]) -> None:
    assert load(ModelConfig(path=url)).tokenizer.chat_template
    assert sorted(got) == sorted(path.name for path in folder.iterdir() if path.name in got)
    assert "model.safetensors" in got
    before = len(got)
    place = copied(url)
    assert len(got) == before
    assert (place / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    assert checkpoint_fingerprint(ModelConfig(path=str(place))) == checkpoint_fingerprint(ModelConfig(path=url))


def test_all_who_need_it_at_once_wait_for_one_copy(url: str, got: list[str]) -> None:
    start = threading.Barrier(4)

    def waited(_: int) -> Path:
        start.wait()
        return copied(url)

    with ThreadPoolExecutor(4) as pool:
        [place] = set(pool.map(waited, range(4)))
    assert got.count("model.safetensors") == 1
    assert (place / "config.json").exists()


def test_a_broken_copy_is_never_read_and_what_arrived_is_kept(
    url: str, got: list[str], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    get_file = s3fs.S3FileSystem.get_file

    def dies(self: Any, path: str, target: str, **more: Any) -> None:
        if path.endswith("model.safetensors"):
            Path(target).write_bytes(b"half")
            raise ConnectionResetError("gone")
        get_file(self, path, target, **more)

    with monkeypatch.context() as broken:
        broken.setattr(s3fs.S3FileSystem, "get_file", dies)
        with pytest.raises(ModelError, match=r"cannot read the model folder .*gone"):
            copied(url)
    assert not [place for place in (cache / "models").iterdir() if place.is_dir() and not place.suffix]
    arrived = set(got)
    got.clear()
    load(ModelConfig(path=url))
    assert "model.safetensors" in got
    assert arrived & set(got) == set()


def test_what_arrives_damaged_is_refused_and_forgotten(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    get_file = s3fs.S3FileSystem.get_file

    def flips(self: Any, path: str, target: str, **more: Any) -> None:
        get_file(self, path, target, **more)
        if path.endswith("model.safetensors"):
            data = bytearray(Path(target).read_bytes())
            data[-1] ^= 1
            Path(target).write_bytes(data)

    with monkeypatch.context() as broken:
        broken.setattr(s3fs.S3FileSystem, "get_file", flips)
        with pytest.raises(ModelError, match=r"tiny/model.safetensors arrived damaged: its size or md5"):
            copied(url)
        checkpoint_fingerprint(ModelConfig(path=url))  # from now on its SHA-256 is known
        with pytest.raises(ModelError, match=r"tiny/model.safetensors arrived damaged: its size or sha256"):
            copied(url)
    load(ModelConfig(path=url))


def test_a_copy_that_lost_a_file_gets_it_back(url: str, got: list[str]) -> None:
    (copied(url) / "model.safetensors").write_bytes(b"cut")
    got.clear()
    load(ModelConfig(path=url))
    assert got == ["model.safetensors"]


def test_a_changed_model_is_another_copy(url: str, s3_client: s3fs.S3FileSystem) -> None:
    before = copied(url), checkpoint_fingerprint(ModelConfig(path=url))
    settings = json.loads(s3_client.cat_file(f"{url}/config.json"))
    s3_client.pipe_file(f"{url}/config.json", json.dumps(settings | {"rope_theta": 1.0}).encode())
    assert copied(url) != before[0]
    assert checkpoint_fingerprint(ModelConfig(path=url)) != before[1]


def test_a_full_disk_is_said_before_anything_is_copied(
    url: str, got: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage._replace(free=10**6))
    with pytest.raises(ModelError, match=r"needs 0.0 GB in .* and 0.0 GB are free: free some, or set XDG_CACHE_HOME"):
        copied(url)
    assert got == []


def test_a_cache_that_cannot_be_made_is_said(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert checkpoint_fingerprint(ModelConfig(path=url))  # what cannot be remembered is no error
    with pytest.raises(ModelError, match="set XDG_CACHE_HOME to a folder that can be written"):
        copied(url)


class TestHashes:
    @pytest.fixture(params=["folder", "url"])
    def model(self, request: pytest.FixtureRequest, folder: Path, tmp_path: Path) -> ModelConfig:
        if request.param == "url":
            return ModelConfig(path=request.getfixturevalue("url"))
        return ModelConfig(path=str(shutil.copytree(folder, tmp_path / "copy")))

    @pytest.fixture
    def hashed(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """One entry for each file that is read and hashed."""
        calls: list[int] = []
        hexdigest = weight_digests.hexdigest
        monkeypatch.setattr(
            weight_digests,
            "hexdigest",
            lambda *given: calls.append(1) or hexdigest(*given),  # type: ignore[func-returns-value]
        )
        return calls

    def test_they_are_computed_once(self, model: ModelConfig, hashed: list[int]) -> None:
        first = checkpoint_fingerprint(model)
        assert hashed
        hashed.clear()
        assert checkpoint_fingerprint(model) == first
        assert not hashed

    def test_a_damaged_or_forged_memory_mends_itself(self, model: ModelConfig, cache: Path, hashed: list[int]) -> None:
        first = checkpoint_fingerprint(model)
        entries = sorted((cache / "digests").iterdir())
        for entry, content in zip(entries, ["", "{", "[]", '{"sha256": "0"}', "\0" * 99] * len(entries), strict=False):
            entry.write_text(content)
        hashed.clear()
        assert checkpoint_fingerprint(model) == first
        assert len(hashed) == len(entries)

    def test_many_processes_may_write_at_once(self, model: ModelConfig, cache: Path) -> None:
        with ThreadPoolExecutor(8) as pool:
            assert len(set(pool.map(lambda _: checkpoint_fingerprint(model), range(16)))) == 1
        assert not [entry for entry in (cache / "digests").iterdir() if entry.name.startswith(".")]

    def test_an_edit_in_place_that_sets_the_time_back_is_seen(self, folder: Path, tmp_path: Path) -> None:
        place = Path(shutil.copytree(folder, tmp_path / "edited"))
        first = checkpoint_fingerprint(ModelConfig(path=str(place)))
        weights = place / "model.safetensors"
        times = weights.stat()
        with weights.open("r+b") as file:
            file.seek(-1, os.SEEK_END)
            last = file.read(1)
            file.seek(-1, os.SEEK_END)
            file.write(bytes([last[0] ^ 1]))
        os.utime(weights, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert checkpoint_fingerprint(ModelConfig(path=str(place))) != first

    def test_a_file_that_has_just_been_written_is_not_remembered(
        self, folder: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(weight_digests, "_TICK_SECONDS", 3600.0)
        (tmp_path / "new.json").write_text("{}")
        weight_digests.local_sha256(tmp_path / "new.json")
        assert not (cache / "digests").exists()

    def test_a_gigabyte_is_hashed_once(self, folder: Path, tmp_path: Path) -> None:
        place = Path(shutil.copytree(folder, tmp_path / "large"))
        for part in range(4):
            with (place / f"part-{part}.safetensors").open("wb") as file:
                file.truncate(2**28)
        model = ModelConfig(path=str(place))
        first = checkpoint_fingerprint(model)
        start = time.perf_counter()
        assert checkpoint_fingerprint(model) == first
        assert time.perf_counter() - start < 0.1
