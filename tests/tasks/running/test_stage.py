"""The stage mechanism: finished work is found again, anything that determines the content makes other work."""

from pathlib import Path
from typing import Any

import pytest

from mascing.errors import DataError
from mascing.storage.manifests import StageOutput, read_manifest, read_shard
from mascing.storage.object_storage import Storage
from mascing.tasks.running.stage import Body, StageRun, run_stage


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage.open(str(tmp_path))


def run(storage: Storage, calls: list[str], **changes: Any) -> StageRun:
    def body(output: StageOutput) -> Body:
        calls.append(output.prefix)
        return Body([output.put("rows.txt", b"a\nb\n", 2)], rows_in=2, facts={"letters": "ab"})

    settings: dict[str, Any] = {"identity": {"seed": 0}, "inputs": {}, "body": body}
    return run_stage(storage, "prepare", "demo", **(settings | changes))


def test_a_stage_leaves_its_shards_and_its_manifest(storage: Storage) -> None:
    made = run(storage, [])
    assert not made.reused
    assert read_manifest(storage, made.manifest.prefix) == made.manifest
    assert read_shard(storage, made.manifest, "rows.txt") == b"a\nb\n"
    assert made.manifest.facts == {"letters": "ab"}


def test_finished_work_is_not_done_again(storage: Storage) -> None:
    calls: list[str] = []
    first, second = run(storage, calls), run(storage, calls)
    assert calls == [first.manifest.prefix]
    assert second.reused
    assert second.manifest == first.manifest


def test_another_identity_is_other_work(storage: Storage) -> None:
    calls: list[str] = []
    run(storage, calls)
    run(storage, calls, identity={"seed": 1})
    assert len(set(calls)) == 2


def test_another_input_is_other_work(storage: Storage) -> None:
    calls: list[str] = []
    first = run(storage, calls)
    second = run(storage, calls, inputs={"before": first.manifest})
    assert len(set(calls)) == 2
    assert second.manifest.inputs == {"before": first.manifest.prefix}


def test_work_that_was_cut_off_before_its_commit_is_done_again(storage: Storage) -> None:
    calls: list[str] = []

    def cut_off(output: StageOutput) -> Body:
        output.put("rows.txt", b"a\nb\n", 2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(storage, calls, body=cut_off)
    assert not run(storage, calls).reused
    assert len(calls) == 1


def test_lost_rows_are_never_committed(storage: Storage) -> None:
    def lossy(output: StageOutput) -> Body:
        return Body([output.put("rows.txt", b"a\n", 1)], rows_in=2)

    with pytest.raises(DataError, match="rows were lost"):
        run(storage, [], body=lossy)
    assert not run(storage, []).reused


def test_what_has_no_stable_fingerprint_is_refused(storage: Storage) -> None:
    with pytest.raises(TypeError, match="fingerprint"):
        run(storage, [], identity={"model": object()})
