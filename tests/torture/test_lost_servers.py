"""A server that a run needs and that dies or hangs ends the run within half a minute, with a line on what to do."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from time import monotonic

import psutil
import pytest
import yaml

from tests.small_run import small_config

TOLD_WITHIN_SECONDS = 30
ENDED_WITHIN_SECONDS = 20
"""After the line: servers are told, if they still listen."""


@pytest.mark.parametrize(
    ("server", "number", "name"),
    [
        ("/raylet/raylet", signal.SIGKILL, "Ray's raylet"),
        ("/gcs/gcs_server", signal.SIGSTOP, "Ray's GCS"),
        ("mascing.flows.own_server", signal.SIGSTOP, "Prefect's server"),
    ],
)
def test_a_lost_server_ends_the_run_with_one_line(
    server: str, number: signal.Signals, name: str, testbed_folder: Path, tmp_path: Path
) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(yaml.safe_dump(small_config(testbed_folder, tmp_path).model_dump(mode="json")))
    hidden = ("PREFECT_API_URL", "RAY_ADDRESS")
    run = subprocess.Popen(
        [sys.executable, "-m", "mascing", "run", str(config), "--storage", str(tmp_path / "storage")],
        env={key: value for key, value in os.environ.items() if key not in hidden} | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert run.stdout is not None
    lines: list[str] = []
    lost = told = 0.0
    for line in run.stdout:
        lines.append(line)
        if re.match("label: train: ", line) and not lost:
            [process] = [
                child for child in psutil.Process(run.pid).children() if any(server in part for part in child.cmdline())
            ]
            # The workers wait, so that the run cannot be done before its loss is told.
            for worker in psutil.Process(run.pid).children(recursive=True):
                if "ray::Worker" in worker.name():
                    worker.suspend()
            process.send_signal(number)
            lost = monotonic()
        if line.startswith("error: "):
            told = monotonic()
    assert run.wait() == 1, "".join(lines)
    assert told - lost < TOLD_WITHIN_SECONDS, "".join(lines)
    assert monotonic() - told < ENDED_WITHIN_SECONDS, "".join(lines)
    assert re.match(f"error: {name}.* does not answer any more: .*; finished stages are kept", lines[-1])
    assert len([line for line in lines if line.startswith("error: ")]) == 1
    assert not any("Traceback" in line for line in lines)
