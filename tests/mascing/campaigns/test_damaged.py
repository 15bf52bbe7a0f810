"""A damaged record of a campaign stands for nothing: what it said is found out again, and the other runs go on."""

from pathlib import Path
from typing import Any

import pytest

from mascing.campaigns.folder import CampaignFolder, keep_cell, keep_failure, read_cell, read_failure
from mascing.errors import ConflictError, DamagedError
from mascing.flows import campaign_found
from mascing.flows.campaign_found import found_outcome
from mascing.schemas.campaign import FailedRun
from mascing.storage.object_storage import Storage
from tests.mascing.campaigns.made_up import cell, run

HOME = CampaignFolder("made-up-0")


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage.open(str(tmp_path / "s"))


@pytest.mark.parametrize("damage", [b"garbage", b"{}\n", b"\xff\x00"])
def test_a_cell_is_written_again_in_place_of_a_damaged_one_and_of_no_other(storage: Storage, damage: bytes) -> None:
    planned = run("a", "defence", 0)
    made = cell(planned, "steermoe")
    storage.overwrite(HOME.cell(made.run, "steermoe"), damage)
    assert read_cell(storage, HOME, made.run, "steermoe") is None
    keep_cell(storage, HOME, made)
    assert read_cell(storage, HOME, made.run, "steermoe") == made
    with pytest.raises(ConflictError):
        keep_cell(storage, HOME, cell(planned, "steermoe", uplift=0.1))


def test_a_run_whose_note_of_failure_is_damaged_is_tried_again(storage: Storage) -> None:
    planned = run("a", "defence", 0)
    keep_failure(storage, HOME, planned, FailedRun(reason="no such luck"))
    found = found_outcome(storage, HOME, planned)
    assert found is not None
    assert found.failed == FailedRun(reason="no such luck")
    storage.overwrite(HOME.failure(planned), b"garbage")
    assert read_failure(storage, HOME, planned) is None
    assert found_outcome(storage, HOME, planned) is None


def test_what_a_run_left_damaged_is_the_failure_of_that_run(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(*_: Any) -> None:
        raise DamagedError("runs/x/result.json is damaged")

    monkeypatch.setattr(campaign_found, "_found", damaged)
    found = found_outcome(storage, HOME, run("a", "defence", 0))
    assert found is not None
    assert found.failed == FailedRun(reason="runs/x/result.json is damaged")
