import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mascing.errors import ConflictError, DataError, StorageError
from mascing.storage.local_store import LocalStore
from mascing.storage.manifests import StageOutput, read_manifest, read_shard, shard_at
from mascing.storage.object_storage import Storage
from mascing.storage.sealing import open_json
from mascing.storage.urls import LocalFolder
from tests.mascing.storage.noted_stage import Noted, NotedFacts

FINGERPRINT = "0123456789abcdef"
NAMES = ("traces-00000.parquet", "traces-00001.parquet", "deeper/map.json")
PROPERTY = settings(max_examples=40, deadline=None, derandomize=True, database=None)


def output_of(storage: Storage) -> StageOutput[Noted]:
    return StageOutput(storage, Noted, "small", FINGERPRINT)


def run_stage(storage: Storage, content: str = "x") -> Noted:
    """What a stage does: nothing if it is finished, else all shards and then the manifest."""
    output = output_of(storage)
    finished = output.finished()
    if finished is not None:
        return finished
    shards = [output.put(name, f"{name} {content}".encode(), rows=2) for name in NAMES]
    return output.commit(shards, NotedFacts(content=content), rows_in=6, inputs={"prepare": "prepare/x-1"})


def assert_readable(storage: Storage, manifest: Noted) -> None:
    for name in NAMES:
        assert read_shard(storage, manifest, name) == f"{name} {manifest.facts.content}".encode()


def test_a_stage_is_finished_when_its_manifest_is_there(storage: Storage) -> None:
    output = output_of(storage)
    assert output.finished() is None
    shard = output.put("traces-00000.parquet", b"rows", rows=3)
    assert output.finished() is None
    with pytest.raises(FileNotFoundError):
        read_manifest(storage, output.prefix, Noted)
    facts = NotedFacts(sigma={"layer": 1.5})
    manifest = output.commit([shard], facts, rows_in=3, inputs={"prepare": "prepare/x-1"})
    assert output.finished() == read_manifest(storage, "harvest/small-0123456789abcdef", Noted) == manifest
    assert read_shard(storage, manifest, "traces-00000.parquet") == b"rows"
    assert (manifest.rows_in, manifest.rows_out, manifest.inputs, manifest.facts) == (
        3, 3, {"prepare": "prepare/x-1"}, facts,
    )  # fmt: skip


def test_running_again_does_no_work_and_gives_the_same_manifest(storage: Storage) -> None:
    first = run_stage(storage)
    before = {name: storage.read(name) for name in storage.list()}
    assert run_stage(storage) == first
    assert {name: storage.read(name) for name in storage.list()} == before


def test_committing_equal_content_twice_is_a_success(storage: Storage) -> None:
    first, second = output_of(storage), output_of(storage)
    for output in (first, second):
        shards = [output.put(name, name.encode(), rows=1) for name in ("b", "a")]
        output.commit(shards if output is first else shards[::-1], NotedFacts(), rows_in=2)
    assert first.finished() == second.finished()


def test_committing_different_content_is_a_conflict(storage: Storage) -> None:
    output = output_of(storage)
    first = output.commit([output.put("a", b"one", rows=1)], NotedFacts(), rows_in=1)
    with pytest.raises(ConflictError):
        output.commit([output.put("a", b"two", rows=1)], NotedFacts(), rows_in=1)
    assert output.finished() == first
    assert read_shard(storage, first, "a") == b"one"


def test_bytes_of_an_interrupted_run_do_not_stand_in_the_way(storage: Storage) -> None:
    """A GPU need not repeat its last bits; the run that finishes is the one that counts."""
    output_of(storage).put(NAMES[0], b"what the killed run left", rows=2)
    assert_readable(storage, run_stage(storage))


def test_equal_manifests_are_equal_bytes(tmp_path: Path) -> None:
    texts = []
    for folder, sigma in (("a", {"x": 1.0, "y": 0.1}), ("b", {"y": 0.1, "x": 1.0})):
        storage = Storage.open(str(tmp_path / folder))
        output = output_of(storage)
        output.commit([output.put("s", b"x", rows=1)], NotedFacts(sigma=sigma), rows_in=1)
        texts.append(storage.read(f"{output.prefix}/manifest.json"))
    assert texts[0] == texts[1]


@pytest.mark.parametrize(
    ("rows", "quarantined_rows", "rows_in", "rows_quarantined"),
    [(5, 0, 6, 0), (6, 0, 5, 0), (5, 1, 6, 0), (5, 0, 6, 1), (5, 2, 6, 1), (0, 6, 6, 5)],
)
def test_lost_or_doubled_rows_are_never_committed(
    tmp_path: Path, rows: int, quarantined_rows: int, rows_in: int, rows_quarantined: int
) -> None:
    output = output_of(Storage.open(str(tmp_path)))
    shards = [output.put("conversations.parquet", b"x", rows=rows)]
    shards += [output.put("quarantine.parquet", b"y", rows=quarantined_rows)] if quarantined_rows else []
    with pytest.raises(DataError, match="rows were lost or doubled, nothing is committed"):
        output.commit(shards, NotedFacts(), rows_in=rows_in, rows_quarantined=rows_quarantined)
    assert output.finished() is None


@pytest.mark.parametrize("which", ["own", "piece"])
def test_what_was_deleted_while_the_stage_ran_is_never_committed(storage: Storage, which: str) -> None:
    """As by a collector of garbage that saw no beat of this process for a while, because it was paused."""
    output = output_of(storage)
    storage.create("traces/piece", b"y")
    places = {"own": f"{output.prefix}/a", "piece": "traces/piece"}
    shards = [output.put("a", b"x", rows=1), shard_at("traces/piece", b"y", rows=1)]
    storage.remove(places[which])
    with pytest.raises(StorageError, match=rf"1 object, such as .*{places[which]}\), so it is not finished"):
        output.commit(shards, NotedFacts(), rows_in=2)
    assert output.finished() is None
    storage.create(places[which], b"x" if which == "own" else b"y")
    assert output.commit(shards, NotedFacts(), rows_in=2).rows_out == 2


def test_quarantined_rows_are_counted(tmp_path: Path) -> None:
    output = output_of(Storage.open(str(tmp_path)))
    shards = [
        output.put("a.parquet", b"x", 3),
        output.put("b.parquet", b"y", 2),
        output.put("quarantine.parquet", b"", 1),
    ]
    manifest = output.commit(shards, NotedFacts(), rows_in=6, rows_quarantined=1)
    assert (manifest.rows_in, manifest.rows_out, manifest.rows_quarantined) == (6, 5, 1)


def test_two_shards_of_one_name_are_refused(tmp_path: Path) -> None:
    output = output_of(Storage.open(str(tmp_path)))
    with pytest.raises(DataError, match="two shards share a name"):
        output.commit([output.put("a", b"x", 1), output.put("a", b"y", 1)], NotedFacts(), rows_in=2)


def test_facts_that_are_no_json_are_refused(tmp_path: Path) -> None:
    output = output_of(Storage.open(str(tmp_path)))
    with pytest.raises(ValueError, match="finite number"):
        output.commit([], NotedFacts(sigma={"layer": float("nan")}), rows_in=0)
    assert output.finished() is None


@pytest.mark.parametrize("damage", ["gone", "truncated", "flipped", "longer"])
def test_a_damaged_shard_is_never_read(storage: Storage, damage: str) -> None:
    output = output_of(storage)
    shards = [output.put("a", b"the right bytes", rows=1)]
    manifest = output.commit(shards, NotedFacts(), rows_in=1)
    if damage == "gone":
        storage.remove(f"{manifest.prefix}/a")
    stored = {"truncated": b"the right", "flipped": b"the rigHt bytes", "longer": b"the right bytes\0"}
    if damage in stored:
        storage.overwrite(f"{manifest.prefix}/a", stored[damage])
    with pytest.raises(StorageError, match=f"is missing or damaged.*delete the folder {manifest.prefix}"):
        read_shard(storage, manifest, shards[0].name)


def test_an_unknown_shard_is_a_key_error(tmp_path: Path) -> None:
    storage = Storage.open(str(tmp_path))
    with pytest.raises(KeyError):
        read_shard(storage, run_stage(storage), "absent")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[: len(text) // 2], "is not a manifest that this version can read"),
        (lambda text: "[]", "is not a manifest that this version can read"),
        (lambda text: json.dumps(json.loads(text) | {"rows_out": 99}), "is not a manifest that this version can read"),
        (lambda text: json.dumps(json.loads(text) | {"new_field": 1}), "is not a manifest that this version can read"),
        (lambda text: with_facts(text, {"content": "x"}), "does not name its stage, format and version"),
        (lambda text: without(text, "format_version"), "does not name its stage, format and version"),
        (lambda text: without(text, "stage"), "does not name its stage, format and version"),
        (lambda text: with_facts(text, {"version": 2}), "is not a manifest that this version can read"),
        (lambda text: with_facts(text, {"version": 1, "sigma": 3}), "is not a manifest that this version can read"),
        (
            lambda text: json.dumps(json.loads(text) | {"stage": "x"}),
            "is not a manifest that this version can read",
        ),
        (lambda text: json.dumps(json.loads(text) | {"fingerprint": "f" * 16}), "was it copied"),
        (lambda text: json.dumps(json.loads(text) | {"format_version": 99}), "in format 99, not to its folder"),
    ],
)
def test_what_is_no_manifest_of_the_stage_is_refused(
    tmp_path: Path, change: Callable[[str], str], message: str
) -> None:
    storage = Storage.open(str(tmp_path))
    path = f"{run_stage(storage).prefix}/manifest.json"
    storage.overwrite(path, change(open_json(storage.read(path), path).decode()).encode())
    with pytest.raises(StorageError, match=message):
        output_of(storage).finished()


def with_facts(text: str, facts: dict[str, Any]) -> str:
    return json.dumps(json.loads(text) | {"facts": facts})


def without(text: str, key: str) -> str:
    return json.dumps({name: value for name, value in json.loads(text).items() if name != key})


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


class HookedStore(LocalStore):
    """A local store that runs a hook before or after its n-th operation."""

    def __init__(self, folder: str, operation: int, after: bool, hook: Callable[[], None]) -> None:
        super().__init__(LocalFolder(Path(folder)))
        self._left, self._after, self._hook = operation, after, hook

    def read(self, path: str) -> bytes:
        with self._counted():
            return super().read(path)

    def put_new(self, path: str, data: bytes) -> bool:
        with self._counted():
            return super().put_new(path, data)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self._left -= 1
        now = self._left == 0
        if now and not self._after:
            self._hook()
        yield
        if now and self._after:
            self._hook()


def die() -> None:
    raise Killed


@PROPERTY
@given(st.lists(st.tuples(st.integers(1, 8), st.booleans(), st.sampled_from("xyz")), max_size=4), st.sampled_from("xy"))
def test_a_stage_killed_anywhere_is_never_read_as_finished_and_can_be_run_again(
    kills: list[tuple[int, bool, str]], content: str
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for operation, after, attempt in kills:
            try:
                run_stage(Storage(HookedStore(folder, operation, after, die)), attempt)
            except Killed:
                finished = output_of(Storage.open(folder)).finished()
                if finished is not None:
                    assert_readable(Storage.open(folder), finished)
        storage = Storage.open(folder)
        manifest = run_stage(storage, content)
        assert_readable(storage, manifest)
        if all(attempt == content for _, _, attempt in kills):
            with tempfile.TemporaryDirectory() as undisturbed:
                assert run_stage(Storage.open(undisturbed), content) == manifest
                assert sorted(Storage.open(undisturbed).list()) == storage.list()


@PROPERTY
@given(st.integers(1, 8), st.booleans(), st.sampled_from("xy"), st.sampled_from("xy"))
def test_of_two_writers_at_once_one_manifest_stands_and_its_shards_are_its_own(
    operation: int, after: bool, mine: str, theirs: str
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        storage = Storage.open(folder)
        concurrent: list[Noted] = []
        hooked = HookedStore(folder, operation, after, lambda: concurrent.append(run_stage(storage, theirs)))
        outcome = outcome_of(lambda: run_stage(Storage(hooked), mine))
        standing = read_manifest(storage, output_of(storage).prefix, Noted)
        assert_readable(storage, standing)
        assert all(other == standing for other in concurrent)
        if mine == theirs or not isinstance(outcome, ConflictError):
            assert outcome == standing


def outcome_of(action: Callable[[], Any]) -> Any:
    try:
        return action()
    except ConflictError as conflict:
        return conflict
