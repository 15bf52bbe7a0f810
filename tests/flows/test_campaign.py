"""A campaign runs its grid, goes on beside what fails, and finds again what it has done."""

import errno
import json
from pathlib import Path
from typing import Any

import pytest

from mascing.campaigns.folder import folder_of
from mascing.cli import main
from mascing.config import load_campaign
from mascing.errors import StorageError
from mascing.flows.campaign import _refuse_common
from mascing.flows.campaign_found import finished_campaign
from mascing.storage import parquet
from mascing.storage.object_storage import Storage
from mascing.tasks.replying import replies
from tests.flows.coin_campaign import parts_in
from tests.tasks.here_pool import HerePool

FAILING = "tests.flows.failing_method:FAILING"


def ran(folder: Path, parts: dict[str, Any], storage: Storage, code: int = 0) -> list[dict[str, Any]]:
    """The rows of the leaderboard, once `mascing campaign` has ended with ``code``."""
    path = folder / "campaign.yaml"
    path.write_text(json.dumps(parts))
    assert main(["campaign", str(path), "--storage", storage.url]) == code
    name = folder_of(load_campaign(str(path))).name
    return list(parquet.from_bytes(storage.read(f"campaigns/{name}/leaderboard.parquet")).to_pylist())


def planned(folder: Path, parts: dict[str, Any], storage: Storage, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What a dry run says of another campaign file."""
    path = folder / "planned.yaml"
    path.write_text(json.dumps(parts))
    capsys.readouterr()
    assert main(["campaign", str(path), "--dry-run", "--storage", storage.url]) == 0
    return capsys.readouterr().out.splitlines()


@pytest.fixture
def pools(prefect_here: None, monkeypatch: pytest.MonkeyPatch) -> list[HerePool]:
    """The pools that were made: each loads a model once."""
    made: list[HerePool] = []

    def pool(*_: Any) -> HerePool:
        made.append(HerePool())
        return made[-1]

    monkeypatch.setattr("mascing.flows.campaign.Pool", pool)
    return made


def refuse(*_: Any, **__: Any) -> None:
    raise AssertionError("a reply or a verdict was paid for again")


def test_the_grid_is_filled_and_found_again_without_a_reply_or_a_verdict(
    tmp_path: Path, pools: list[HerePool], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    storage, parts = Storage.open(str(tmp_path / "s")), parts_in(tmp_path)
    rows = ran(tmp_path, parts, storage)
    assert [(row["seed"], row["method"], row["state"]) for row in rows] == [
        (seed, method, "finished") for seed in (0, 1) for method in ("steermoe", "random")
    ]
    assert len(pools) == 1
    assert {row["finished_seeds"] for row in rows} == {2}
    assert all(row["replies"] > 0 and row["tokens_per_reply"] > 0 for row in rows)
    monkeypatch.setattr(replies, "generated", refuse)
    monkeypatch.setattr("mascing.tasks.replying.verdict_pieces.judge_all", refuse)
    [path] = [path for path in storage.list("campaigns") if path.endswith("leaderboard.parquet")]
    before = storage.read(path)
    assert "finished: 2 of 2 runs" in planned(tmp_path, parts, storage, capsys)
    said = planned(tmp_path, parts | {"seeds": [0, 1, 2], "name": "more"}, storage, capsys)
    assert "finished: 2 of 3 runs" in said
    assert not any(line.startswith("the file says something else") for line in said)  # of another campaign
    assert any(line.startswith("time: not known") for line in said)
    said = planned(tmp_path, parts | {"seeds": [0, 1, 2]}, storage, capsys)
    assert f"the file says something else than it did for {path.rpartition('/')[0]}, which stays as it is" in said
    assert any(line.startswith("time, by the stages that are finished: ") for line in said)
    [left] = [line for line in said if line.startswith("left to do: 1 run; at most ")]
    assert "label" not in left
    assert "evaluate" in left
    finished_campaign(load_campaign(str(tmp_path / "campaign.yaml")), storage.url)
    assert storage.read(path) == before
    for lost in (*storage.list("campaigns"), *storage.list("runs")):
        storage.remove(lost)
    assert ran(tmp_path, parts, storage) == rows
    assert storage.read(path) == before


def test_what_fails_is_told_and_the_rest_goes_on_until_it_is_mended(
    tmp_path: Path, pools: list[HerePool], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    storage, parts = Storage.open(str(tmp_path / "s")), parts_in(tmp_path)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken.jsonl").write_text("no row\n")
    parts["models"] = {"broken": {"model": {"path": str(tmp_path / "broken")}}, **parts["models"]}
    broken = {"behaviour": {**parts["behaviours"]["b"]["behaviour"], "conversations": str(tmp_path / "broken.jsonl")}}
    parts |= {"behaviours": {"unreadable": broken, **parts["behaviours"]}, "seeds": [0]}
    parts["methods"]["own"] = {"kind": FAILING}
    found = {(row["model"], row["behaviour"], row["method"]): row for row in ran(tmp_path, parts, storage, code=1)}
    assert len(pools) == 1  # none for the model that cannot be loaded
    said = capsys.readouterr().out.splitlines()
    assert "failed: own for b on tiny, seed 0: RuntimeError: no such luck" in said
    assert said[-1].startswith("next: mend what failed, then mascing campaign ")
    assert found["tiny", "b", "steermoe"]["state"] == "finished"
    assert found["tiny", "b", "own"]["reason"] == "RuntimeError: no such luck"
    assert "broken" in found["broken", "b", "steermoe"]["reason"]
    assert found["tiny", "unreadable", "steermoe"]["state"] == "failed"
    [page] = [path for path in storage.list("campaigns") if path.endswith("index.html")]
    assert "RuntimeError: no such luck" in storage.read(page).decode()
    monkeypatch.setenv("MENDED", "1")
    again = {(row["model"], row["behaviour"], row["method"]): row for row in ran(tmp_path, parts, storage, code=1)}
    assert again["tiny", "b", "own"]["state"] == "finished"
    assert {key for key, row in again.items() if row["state"] != "finished"} == {
        (model, behaviour, method)
        for model, behaviour in (("broken", "unreadable"), ("broken", "b"), ("tiny", "unreadable"))
        for method in ("steermoe", "own", "random")
    }


def test_a_judge_that_reads_its_canaries_wrong_keeps_a_campaign_from_starting(
    tmp_path: Path, pools: list[HerePool], capsys: pytest.CaptureFixture[str]
) -> None:
    storage, parts = Storage.open(str(tmp_path / "s")), parts_in(tmp_path)
    del parts["allow_failing_judges"]
    assert {row["state"] for row in ran(tmp_path, parts, storage, code=1)} == {"waiting"}
    said = " ".join(capsys.readouterr().err.split())
    assert "judge tests.tasks.coin_judge:coin (target of b, utility of b, protected of b) reads " in said
    assert "`allow_failing_judges: true`" in said
    assert pools == []


@pytest.mark.parametrize("of_worker", [False, True])
def test_a_full_disk_is_no_failure_of_a_run(of_worker: bool) -> None:
    full = OSError(errno.ENOSPC, "No space left on device", "/scratch/x")
    error = RuntimeError("of a worker")
    error.cause = full  # type: ignore[attr-defined]
    with pytest.raises(StorageError, match="/scratch/x has no space left: free some and run again"):
        _refuse_common(error if of_worker else full)
    _refuse_common(OSError(errno.ENOENT, "No such file or directory", "/scratch/x"))
