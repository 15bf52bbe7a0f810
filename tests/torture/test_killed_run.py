"""A run that is killed leaves nothing behind: a guardian ends its servers and workers and removes their folders."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep, time

import psutil
import pytest
import yaml

from mascing.tasks.guarding.sessions import made_by
from tests.small_run import small_config

ENDS_WITHIN_SECONDS = 10


def alive(process: psutil.Process) -> bool:
    """Whether it runs, or is stopped; nobody may ever ask how it ended."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the workers of Ray end otherwise elsewhere")
@pytest.mark.parametrize(
    ("said", "kill"), [("starting Prefect", os.kill), ("starting 1 worker", os.killpg), ("label: ", os.kill)]
)
def test_a_killed_run_leaves_nothing_behind(
    said: str, kill: Callable[[int, int], None], testbed_folder: Path, tmp_path: Path
) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(yaml.safe_dump(small_config(testbed_folder, tmp_path, workers=1).model_dump(mode="json")))
    hidden = ("PREFECT_API_URL", "RAY_ADDRESS")
    began = time()
    run = subprocess.Popen(
        [sys.executable, "-m", "mascing", "run", str(config), "--storage", str(tmp_path / "storage")],
        env={name: value for name, value in os.environ.items() if name not in hidden} | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert run.stdout is not None
    lines: list[str] = []
    for line in run.stdout:
        lines.append(line)
        if re.match(said, line):
            break
    processes = psutil.Process(run.pid).children(recursive=True)
    stopped = [process for process in processes if "ray::Worker" in process.name()][:1]
    for process in stopped:  # it cannot end by itself, as the others might
        process.suspend()
    kill(run.pid, signal.SIGKILL)
    run.wait()
    assert len(processes) > 1, lines
    deadline = monotonic() + ENDS_WITHIN_SECONDS
    while any(map(alive, processes)) and monotonic() < deadline:
        sleep(0.1)
    assert [process for process in processes if alive(process)] == []
    assert not list(made_by(run.pid, began))
