"""A run that is killed repeatedly finishes with the same result as an undisturbed run.

Each run is `mascing run` in its own process, on a small configuration of the testbed. The undisturbed run has one
worker, the killed one two: the result must not depend on placement either.
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

from mascing.storage.sealing import SEAL
from tests.small_run import small_config

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


def finish(config: Path, storage: Path, settings: dict[str, str]) -> tuple[list[str], dict[str, Any]]:
    """The run's output lines, and its result without timings and seal."""
    output, _ = start(config, storage, settings).communicate()
    results = list(storage.glob("runs/*/result.json"))
    assert len(results) == 1, output
    result = json.loads(results[0].read_text())
    assert result.pop("timings")
    assert result.pop(SEAL)
    return output.splitlines(), result


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
def test_killed_at_three_stages_a_run_finishes_with_the_same_result(
    testbed_folder: Path, tmp_path: Path, settings: dict[str, str]
) -> None:
    configs = {}
    for workers in (1, 2):
        config = small_config(testbed_folder, tmp_path, workers=workers)
        configs[workers] = tmp_path / f"run-{workers}.yaml"
        configs[workers].write_text(yaml.safe_dump(config.model_dump(mode="json")))
    _, undisturbed = finish(configs[1], tmp_path / "undisturbed", settings)

    for pattern in KILL_AT:
        kill_at(pattern, configs[2], tmp_path / "killed", settings)
        assert not list((tmp_path / "killed").glob("runs/*/result.json"))
    lines, killed = finish(configs[2], tmp_path / "killed", settings)

    assert [line for line in lines if "already done" in line] == KEPT
    assert killed == undisturbed
    assert killed["published"] is not None
