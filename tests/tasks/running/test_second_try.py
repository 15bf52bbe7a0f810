"""Pieces that hold failures step aside when a stage is refused, unless another stage may need them."""

import pytest

from mascing.conversations.intake.rows import Quarantined
from mascing.errors import DataError
from mascing.storage import parquet
from mascing.storage.lease import Lease, held
from mascing.storage.manifests import StageOutput, shard_at
from mascing.storage.object_storage import Storage
from mascing.tasks.running import second_try
from mascing.tasks.running.second_try import aside, refuse_failures
from tests.mascing.storage.noted_stage import Noted, NotedFacts

PIECES = ("replies/a/1.parquet", "traces/a/1.parquet", "traces/a/2.parquet")
FAILED = [Quarantined(number, f"c{number}", "CUDA error", "hello", None) for number in (1, 2)]


def refuse(storage: Storage, limit: float = 0.0) -> StageOutput[Noted]:
    """Refuse a stage whose failures are in all pieces; another one has accepted the last."""
    for path in PIECES:
        storage.create(path, path.encode())
    accepted = StageOutput(storage, Noted, "accepted", "0" * 16)
    accepted.commit([shard_at(PIECES[-1], PIECES[-1].encode(), rows=1)], NotedFacts(), rows_in=1)
    output = StageOutput(storage, Noted, "refused", "1" * 16)
    with Lease.hold(storage, output.prefix):
        refuse_failures(output, FAILED, 10, limit, PIECES)
    return output


def test_what_no_stage_has_accepted_steps_aside_and_all_reasons_are_kept(storage: Storage) -> None:
    with pytest.raises(DataError, match=r"harvest: 2 of 10 conversations.*\(0%\).*CUDA error.*refused.parquet has all"):
        refuse(storage)
    [reasons] = [path for path in storage.list() if path.endswith("refused.parquet")]
    assert parquet.from_bytes(storage.read(reasons)).column("id").to_pylist() == ["c1", "c2"]
    for path in PIECES[:2]:
        assert not storage.exists(path)
        assert storage.read(aside(path)) == path.encode()
    assert storage.read(PIECES[2]) == PIECES[2].encode()


def test_traces_stay_while_another_run_is_at_work_that_may_be_about_to_name_them(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Lease.hold(storage, "of another run"):
        monkeypatch.setattr(second_try, "living", held)  # spares the watching
        with pytest.raises(DataError, match="cannot be used"):
            refuse(storage)
    assert storage.list("replies") == [aside(PIECES[0])]
    assert storage.list("traces") == [*PIECES[1:]]


def test_failures_within_the_allowed_share_stay_where_they_are(storage: Storage) -> None:
    refuse(storage, limit=0.2)
    assert [path for path in storage.list() if "/a/" in path] == [*PIECES]
