"""One torture round, and that its checks find what is wrong; `make torture` does a hundred."""

import json
import shutil
from pathlib import Path

import pytest

from mascing.storage.object_storage import Storage
from tests.torture.rounds.soundness import faults
from tests.torture.rounds.torture import torture


@pytest.mark.timeout(1800)
def test_a_run_whose_actor_is_killed_is_sound_and_the_checks_can_fail(testbed_folder: Path, tmp_path: Path) -> None:
    [told] = torture(tmp_path, testbed_folder, rounds=1, seed=3, only="SIGKILL of actor", program="run")
    assert told.faults == [], told
    # The undisturbed run has two workers, so that the same result does not depend on placement either.
    assert told.workers == 1
    undisturbed = tmp_path / "undisturbed-run"
    changed = tmp_path / "changed"

    shutil.copytree(undisturbed, changed)
    [shard] = changed.glob("evaluate/*/verdicts-baseline.parquet")
    data = shard.read_bytes()
    shard.chmod(0o600)
    shard.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    found = faults(Storage.open(str(changed)), Storage.open(str(undisturbed)))
    assert any("no object has the bytes of verdicts-baseline.parquet" in fault for fault in found), found

    [result] = changed.glob("runs/*/result.json")
    result.chmod(0o600)
    result.write_text(json.dumps(json.loads(result.read_text()) | {"published": None}))
    found = faults(Storage.open(str(changed)), Storage.open(str(undisturbed)))
    assert "result.json differs from that of the undisturbed run" in found
