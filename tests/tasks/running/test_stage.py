"""Running stages: finished work is reused, and a change of anything that determines the content is new work."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from mascing.errors import DataError
from mascing.storage.lease import LEASES
from mascing.storage.manifests import StageOutput, read_manifest, read_shard
from mascing.storage.object_storage import Storage
from mascing.tasks.running.stage import Body, Finished, Part, Recipe, run_stage
from tests.mascing.storage.noted_stage import Noted, NotedFacts

RECIPE = Recipe(Noted, "demo", {"seed": 0})
Work = Callable[[StageOutput[Noted]], Body]


class SecondFacts(NotedFacts):
    version: Literal[2] = 2  # type: ignore[assignment]


class SecondNoted(Noted):
    facts: SecondFacts


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage.open(str(tmp_path))


def run(
    storage: Storage, calls: list[str], recipe: Recipe[Noted] = RECIPE, body: Work | None = None
) -> Finished[Noted]:
    def work(output: StageOutput[Noted]) -> Body:
        calls.append(output.prefix)
        return Body([output.put("rows.txt", b"a\nb\n", 2)], NotedFacts(content="ab"), rows_in=2)

    return run_stage(storage, recipe, body or work)


def test_a_stage_leaves_its_shards_and_its_manifest(storage: Storage) -> None:
    finished = run(storage, [])
    assert not finished.reused
    assert finished.manifest.prefix == RECIPE.prefix
    assert read_manifest(storage, RECIPE.prefix, Noted) == finished.manifest
    assert read_shard(storage, finished.manifest, "rows.txt") == b"a\nb\n"
    assert finished.manifest.facts == NotedFacts(content="ab")


def test_finished_work_is_not_done_again(storage: Storage) -> None:
    calls: list[str] = []
    first, second = run(storage, calls), run(storage, calls)
    assert calls == [first.manifest.prefix]
    assert second.reused
    assert second.manifest == first.manifest


def test_another_identity_is_other_work(storage: Storage) -> None:
    calls: list[str] = []
    run(storage, calls)
    run(storage, calls, replace(RECIPE, identity={"seed": 1}))
    assert len(set(calls)) == 2


def test_another_input_is_other_work(storage: Storage) -> None:
    calls: list[str] = []
    first = run(storage, calls)
    second = run(storage, calls, replace(RECIPE, inputs={"before": first.manifest}))
    assert len(set(calls)) == 2
    assert second.manifest.inputs == {"before": first.manifest.prefix}


def test_equal_parts_of_different_outputs_are_equal_work(storage: Storage) -> None:
    calls: list[str] = []
    parts = [Part(replace(RECIPE, identity={"seed": seed}), "the rows that are read") for seed in (1, 2)]
    first, second = (run(storage, calls, replace(RECIPE, inputs={"before": part})) for part in parts)
    assert len(calls) == 1
    assert second.manifest == first.manifest


def test_of_two_runs_at_once_the_first_to_finish_holds_for_both(storage: Storage) -> None:
    def overtaken(output: StageOutput[Noted]) -> Body:
        for lease in storage.list(LEASES):  # as if this process had been stopped for long
            storage.remove(lease)
        theirs = run(storage, [])
        assert theirs.manifest.facts.content == "ab"
        return Body([output.put("rows.txt", b"other bits\n", 1)], NotedFacts(content="other"), rows_in=1)

    assert run(storage, [], RECIPE, overtaken).manifest.facts.content == "ab"


def test_a_second_process_waits_for_the_one_at_work_and_takes_what_it_made(
    storage: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    begun, calls = threading.Event(), list[str]()

    def slow(output: StageOutput[Noted]) -> Body:
        begun.set()
        time.sleep(1)
        return Body([output.put("rows.txt", b"a\n", 1)], NotedFacts(content="ab"), rows_in=1)

    first = threading.Thread(target=lambda: run(storage, [], RECIPE, slow))
    first.start()
    assert begun.wait(10)
    with caplog.at_level("INFO", logger="mascing.progress"):
        assert run(storage, calls).manifest.rows_in == 1
    first.join()
    assert calls == []
    assert "is at work on this stage: waiting until it is done" in caplog.text


def test_another_version_of_the_recipe_is_other_work(storage: Storage) -> None:
    upgraded: Recipe[Noted] = replace(RECIPE, leaves=SecondNoted)
    assert upgraded.prefix != RECIPE.prefix
    run(storage, [])

    def body(output: StageOutput[Any]) -> Body:
        return Body([], SecondFacts(), rows_in=0)

    finished = run(storage, [], upgraded, body)
    assert not finished.reused
    assert isinstance(finished.manifest, SecondNoted)


def test_work_that_was_cut_off_before_its_commit_is_done_again(storage: Storage) -> None:
    calls: list[str] = []

    def cut_off(output: StageOutput[Noted]) -> Body:
        output.put("rows.txt", b"a\nb\n", 2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(storage, calls, body=cut_off)
    assert not run(storage, calls).reused
    assert len(calls) == 1


def test_lost_rows_are_never_committed(storage: Storage) -> None:
    def lossy(output: StageOutput[Noted]) -> Body:
        return Body([output.put("rows.txt", b"a\n", 1)], NotedFacts(), rows_in=2)

    with pytest.raises(DataError, match="rows were lost"):
        run(storage, [], body=lossy)
    assert not run(storage, []).reused


def test_what_has_no_stable_fingerprint_is_refused(storage: Storage) -> None:
    with pytest.raises(TypeError, match="fingerprint"):
        run(storage, [], replace(RECIPE, identity={"model": object()}))
