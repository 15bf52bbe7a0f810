"""A run that is killed repeatedly finishes with the same result as an undisturbed run.

The killed run is `mascing run` in processes of its own with two Ray workers, on a small configuration of the testbed;
the undisturbed one is in this process with one: the result must not depend on placement either.
"""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from mascing.flows.reconfigure import reconfigure
from mascing.storage.sealing import SEAL
from tests.small_run import small_config
from tests.tasks.here_pool import HerePool

# Log lines that trigger SIGKILL, as patterns: between a stage's commit and the next stage, while candidates are read,
# and while replies are judged.
KILL_AT = ["prepare: done", "select: reading ", r"evaluate: \d+/"]
KEPT = [f"{stage}: already done" for stage in ("prepare", "label", "harvest", "train", "optimise", "select")]


@pytest.fixture
def settings(prefect_url: str) -> dict[str, str]:
    return {**os.environ, "PREFECT_API_URL": prefect_url, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


def start(config: Path, storage: Path, settings: dict[str, str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "mascing", "run", str(config), "--storage", str(storage)],
        env=settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def result_in(storage: Path) -> dict[str, Any]:
    """The result of the only run, without timings and seal."""
    [stored] = storage.glob("runs/*/result.json")
    result: dict[str, Any] = json.loads(stored.read_text())
    assert result.pop("timings")
    assert result.pop(SEAL)
    return result


def kill_at(pattern: str, config: Path, storage: Path, settings: dict[str, str]) -> None:
    """SIGKILL the run's process group at the first log line whose start matches ``pattern``."""
    process = start(config, storage, settings)
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if re.match(pattern, line):
            os.killpg(process.pid, signal.SIGKILL)
            break
    assert process.wait() == -signal.SIGKILL, f"the run never said {pattern!r}: {''.join(lines)}"


@pytest.mark.timeout(1800)
@pytest.mark.usefixtures("prefect_here")
def test_killed_at_three_stages_a_run_finishes_with_the_same_result(
    testbed_folder: Path, tmp_path: Path, settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, killed = tmp_path / "run.yaml", tmp_path / "killed"
    small = small_config(testbed_folder, tmp_path, workers=2)
    config.write_text(yaml.safe_dump(small.model_dump(mode="json")))
    for pattern in KILL_AT:
        kill_at(pattern, config, killed, settings)
        assert not list(killed.glob("runs/*/result.json"))
    output, _ = start(config, killed, settings).communicate()
    assert [line for line in output.splitlines() if "already done" in line] == KEPT

    monkeypatch.setattr("mascing.flows.reconfigure.Pool", lambda *_: HerePool())
    reconfigure(small, str(tmp_path / "undisturbed"))
    result = result_in(killed)
    assert result == result_in(tmp_path / "undisturbed")
    assert result["published"] is not None
