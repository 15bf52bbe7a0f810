"""A run that is told to stop ends with all that it started, and says how to go on."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from time import monotonic, sleep

import pytest
import yaml
from small_run import small_config

MARK = "MASCING_STOPPED_RUN"
_PATIENCE_SECONDS = 120


def left_behind(mark: str) -> list[str]:
    """Command lines of the processes that have ``mark`` in their environment: the run and all that it started."""
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"{MARK}={mark}".encode() in environment.read_bytes().split(b"\0"):
                found.append(environment.with_name("cmdline").read_text().replace("\0", " "))
        except OSError:  # it ended meanwhile
            continue
    return found


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="processes are found by Linux's /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_a_run_that_is_told_to_stop_leaves_no_process_behind(
    number: signal.Signals, testbed_folder: Path, tmp_path: Path
) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(yaml.safe_dump(small_config(testbed_folder, tmp_path).model_dump(mode="json")))
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    process = subprocess.Popen(
        [sys.executable, "-m", "mascing", "run", str(config), "--storage", str(tmp_path / "storage")],
        env={**environment, MARK: str(tmp_path), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if line.startswith("train: 1/"):
            # The workers, Ray and Prefect's server are all there by now.
            assert len(left_behind(str(tmp_path))) > 4
            process.send_signal(number)

    assert process.wait() == 130, said
    assert said[-1].startswith("stopped: finished stages are kept"), said
    deadline = monotonic() + _PATIENCE_SECONDS
    while left_behind(str(tmp_path)) and monotonic() < deadline:
        sleep(0.5)  # Ray's agents notice within seconds that their node is gone
    assert left_behind(str(tmp_path)) == []
