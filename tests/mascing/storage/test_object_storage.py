import fcntl
import multiprocessing
import os
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest

from mascing.errors import ConflictError, StorageError
from mascing.storage.object_storage import Storage
from mascing.storage.s3_client import S3Client
from mascing.storage.s3_store import S3Store
from mascing.storage.urls import BucketPrefix

WRITERS, STEPS = 3, 4


def test_an_object_is_created_once_and_read_back(storage: Storage) -> None:
    storage.create("a/b/c.bin", b"\x00\xff" * 1000)
    assert storage.read("a/b/c.bin") == b"\x00\xff" * 1000
    assert storage.exists("a/b/c.bin")


def test_equal_content_already_there_is_a_success(storage: Storage) -> None:
    storage.create("a", b"same")
    storage.create("a", b"same")
    assert storage.read("a") == b"same"


def test_different_content_already_there_is_a_conflict_and_stays(storage: Storage) -> None:
    storage.create("a", b"first")
    with pytest.raises(ConflictError, match="another writer stored different content"):
        storage.create("a", b"second")
    assert storage.read("a") == b"first"


def test_of_many_writers_with_different_content_one_wins(storage: Storage) -> None:
    for race in range(4):
        outcomes = at_once(partial(create_numbered, storage, f"race-{race}"))
        assert sorted(map(str, outcomes)).count("None") == 1
        assert storage.read(f"race-{race}") == b"%d" % outcomes.index(None)


def test_of_many_writers_with_equal_content_all_succeed(storage: Storage) -> None:
    assert at_once(lambda n: storage.create("race", b"equal" * 1000)) == [None] * WRITERS


def test_overwrite_replaces_the_whole_object(storage: Storage) -> None:
    storage.overwrite("result.json", b"a long first version")
    storage.overwrite("result.json", b"short")
    assert storage.read("result.json") == b"short"


def test_swap_replaces_only_the_version_that_was_read(storage: Storage) -> None:
    storage.swap("channel", b"one", None)
    data, version = storage.read_versioned("channel")
    assert data == b"one"
    storage.swap("channel", b"two", version)
    with pytest.raises(ConflictError, match="read it again and retry"):
        storage.swap("channel", b"three", version)
    with pytest.raises(ConflictError):
        storage.swap("channel", b"three", None)
    assert storage.read("channel") == b"two"


def test_swap_of_an_absent_object_is_a_conflict(storage: Storage) -> None:
    storage.create("other", b"x")
    with pytest.raises(ConflictError):
        storage.swap("channel", b"one", storage.read_versioned("other")[1])
    assert not storage.exists("channel")


def test_a_counter_loses_no_step_between_threads(storage: Storage) -> None:
    storage.create("counter", b"0")
    assert at_once(lambda n: count(storage, STEPS)) == [None] * WRITERS
    assert storage.read("counter") == b"%d" % (WRITERS * STEPS)


def test_a_counter_loses_no_step_between_processes(storage: Storage) -> None:
    storage.create("counter", b"0")
    # Spawned: a fork takes over neither the threads of s3fs nor those of whatever ran in this process before.
    number = 1 if storage.url.startswith("s3") else 3
    start = multiprocessing.get_context("spawn").Process
    processes = [start(target=count, args=(storage, STEPS)) for _ in range(number)]
    for process in processes:
        process.start()
    count(storage, STEPS)
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * number
    assert storage.read("counter") == b"%d" % ((number + 1) * STEPS)


def test_list_gives_the_objects_of_a_folder_sorted(storage: Storage) -> None:
    for name in ("b/2", "b/1", "b/c/3", "bb/4", "a"):
        storage.create(name, b"")
    assert storage.list() == ["a", "b/1", "b/2", "b/c/3", "bb/4"]
    assert storage.list("b") == storage.list("b/") == ["b/1", "b/2", "b/c/3"]
    assert storage.list("absent") == []
    assert storage.list("a") == []


def test_what_is_absent_is_not_found(storage: Storage) -> None:
    storage.create("folder/object", b"x")
    for name in ("absent", "folder", "folder/absent"):
        assert not storage.exists(name)
        with pytest.raises(FileNotFoundError):
            storage.read(name)
        with pytest.raises(FileNotFoundError):
            storage.read_versioned(name)


@pytest.mark.parametrize(
    "name", ["", "/abs", "a//b", "a/", "../a", "a/../b", ".", ".hidden", "a/.tmp-1", "a\\b", "a\nb"]
)
def test_names_that_are_no_object_names_are_refused(tmp_path: Path, name: str) -> None:
    storage = Storage.open(str(tmp_path))
    actions: list[Callable[[], object]] = [
        lambda: storage.read(name),
        lambda: storage.create(name, b""),
        lambda: storage.overwrite(name, b""),
        lambda: storage.swap(name, b"", None),
        lambda: storage.exists(name),
    ]
    for action in actions:
        with pytest.raises(StorageError, match="is not an object name"):
            action()
    assert storage.list() == []


def test_it_pickles_as_its_url(storage: Storage) -> None:
    storage.create("a", b"x")
    copy = pickle.loads(pickle.dumps(storage))  # noqa: S301 - our own bytes
    assert copy.url == storage.url
    assert copy.read("a") == b"x"


def test_opening_leaves_no_object(storage: Storage) -> None:
    assert Storage.open(storage.url).list() == []


def test_locate_names_the_object_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    storage = Storage.open("./x")
    storage.create("a/b", b"content")
    assert Path(storage.locate("a/b")).read_bytes() == b"content"
    assert Path(storage.locate("a/b")).is_absolute()


def test_a_browser_finds_a_local_page_by_its_file(tmp_path: Path) -> None:
    storage = Storage.open(str(tmp_path / "with space"))
    assert storage.web_address("a/index.html") == f"file://{tmp_path}/with%20space/a/index.html"


def test_a_browser_finds_a_page_on_s3_and_shows_it(s3_url: str) -> None:
    storage = Storage.open(f"{s3_url}/web")
    address = storage.web_address("a/index.html")
    bucket = s3_url.removeprefix("s3://")
    assert address == f"{os.environ['AWS_ENDPOINT_URL']}/{bucket}/web/a/index.html"  # and no signature
    storage.overwrite("a/index.html", b"<p>")
    storage.create("b/index.html", b"<p>")
    for name in ("a", "b"):
        head = S3Client().call("head_object", Bucket=bucket, Key=f"web/{name}/index.html")
        assert head["ContentType"] == "text/html"


@pytest.mark.parametrize("url", ["{}/deep/er", "file://{}/u%20rl", "file://localhost{}/x"])
def test_a_local_folder_is_made(tmp_path: Path, url: str) -> None:
    Storage.open(url.format(tmp_path)).create("a", b"x")
    (path,) = tmp_path.rglob("a")
    assert " " in str(path) or "%20" not in url


def test_a_leftover_temporary_file_is_no_object(tmp_path: Path) -> None:
    storage = Storage.open(str(tmp_path))
    storage.create("stage/shard", b"x")
    (tmp_path / "stage" / ".tmp-of-a-killed-writer").write_bytes(b"half a sha")
    assert storage.list() == ["stage/shard"]


def test_a_pipe_is_no_object(tmp_path: Path) -> None:
    """Whoever reads all that is listed would wait for ever at one."""
    storage = Storage.open(str(tmp_path))
    os.mkfifo(tmp_path / "pipe")
    assert storage.list() == []


def test_a_folder_in_the_way_of_an_object_is_told(tmp_path: Path) -> None:
    storage = Storage.open(str(tmp_path))
    storage.create("name/inside", b"x")
    with pytest.raises(StorageError, match="a folder of this name is in the way"):
        storage.create("name", b"x")
    with pytest.raises(StorageError, match="a file is where a folder should be"):
        storage.create("name/inside/deeper", b"x")


def test_the_umask_decides_who_may_read(tmp_path: Path) -> None:
    """Files shared between users must not become private by way of a temporary file."""
    Storage.open(str(tmp_path)).create("a", b"x")
    mask = os.umask(0)
    os.umask(mask)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o666 & ~mask


def create_numbered(storage: Storage, name: str, n: int) -> None:
    storage.create(name, b"%d" % n)


def count(storage: Storage, steps: int) -> None:
    """Add one to a shared counter, `steps` times."""
    for _ in range(steps):
        while True:
            data, version = storage.read_versioned("counter")
            try:
                storage.swap("counter", b"%d" % (int(data) + 1), version)
            except ConflictError:
                continue
            break


def at_once(action: Callable[[int], None]) -> list[ConflictError | None]:
    """Let all writers act at the same moment; the conflict of each, or None."""
    start = threading.Barrier(WRITERS)

    def write(n: int) -> ConflictError | None:
        start.wait()
        try:
            action(n)
        except ConflictError as conflict:
            return conflict
        return None

    with ThreadPoolExecutor(WRITERS) as pool:
        return list(pool.map(write, range(WRITERS)))


def test_an_update_is_one_step_among_all_writers(storage: Storage) -> None:
    def append(letter: str) -> None:
        storage.update("word", lambda before: (before or b"") + letter.encode())

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(append, "abcd"))
    assert sorted(storage.read("word").decode()) == list("abcd")


def test_an_update_that_changes_nothing_writes_nothing(storage: Storage) -> None:
    storage.overwrite("word", b"same")
    version = storage.read_versioned("word")
    storage.update("word", lambda before: before or b"")
    assert storage.read_versioned("word") == version


def test_an_object_tells_when_it_was_written(storage: Storage) -> None:
    before = datetime.now(UTC) - timedelta(seconds=2)  # S3 tells whole seconds
    storage.overwrite("now", b"x")
    assert before <= storage.modified("now") <= datetime.now(UTC) + timedelta(seconds=1)
    with pytest.raises(FileNotFoundError):
        storage.modified("never")


def test_a_list_longer_than_a_page_is_whole(s3_client: S3Client, s3_url: str) -> None:
    bucket, prefix = s3_url.removeprefix("s3://"), uuid4().hex
    names = [f"units/{n:04}" for n in range(1001)]  # a page holds 1,000
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda name: s3_client.call("put_object", Bucket=bucket, Key=f"{prefix}/{name}"), names))
    assert Storage(S3Store(BucketPrefix(bucket, prefix), s3_client)).list() == names


def test_entries_tell_sizes_and_what_is_removed_is_gone(storage: Storage) -> None:
    storage.create("folder/a", b"four")
    storage.create("folder/b", b"")
    assert [(entry.name, entry.bytes) for entry in storage.entries("folder")] == [("folder/a", 4), ("folder/b", 0)]
    storage.remove("folder/a")
    storage.remove("folder/a")
    assert storage.list() == ["folder/b"]
    with pytest.raises(FileNotFoundError):
        storage.read("folder/a")


def test_a_part_is_read_alone_and_must_be_there(storage: Storage) -> None:
    storage.create("folder/a", b"0123456789")
    assert storage.read_range("folder/a", 0, 10) == b"0123456789"
    assert storage.read_range("folder/a", 3, 5) == b"34"
    for start, stop in ((20, 22), (8, 12)):
        with pytest.raises(StorageError, match=f"^checksum failed: {storage.locate('folder/a')}"):
            storage.read_range("folder/a", start, stop)
    with pytest.raises(FileNotFoundError):
        storage.read_range("folder/b", 0, 1)


def test_a_storage_is_unused_until_it_is_opened_to_write(storage: Storage) -> None:
    place = f"{storage.url}/below"
    assert Storage.open_to_read(place).is_unused()
    Storage.open(place)
    assert not Storage.open_to_read(place).is_unused()


def test_what_a_killed_writer_left_is_found_and_what_a_living_one_holds_is_not(tmp_path: Path) -> None:
    storage = Storage.open(str(tmp_path))
    storage.swap("channel", b"one", None)
    storage.swap("channel", b"two", storage.read_versioned("channel")[1])
    assert storage.leftovers() == []
    (tmp_path / ".tmp-of-a-killed-writer").write_bytes(b"half a sha")
    (tmp_path / ".lock-channel").touch()
    with open(tmp_path / ".tmp-of-a-living-writer", "wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        found = {left.stored.name: left for left in storage.leftovers()}
        assert {name: left.what for name, left in found.items()} == {
            ".tmp-of-a-killed-writer": "temporary file", ".lock-channel": "lock file",
        }  # fmt: skip
    for left in found.values():
        left.discard()
    storage.swap("channel", b"three", storage.read_versioned("channel")[1])
    assert storage.read("channel") == b"three"
