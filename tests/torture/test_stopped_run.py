"""A run that receives a stop signal ends all its processes and says how to continue.

Ctrl-C, which a terminal sends to the whole process group, is typed in test_at_terminal.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep

import pytest
import yaml

from tests.small_run import small_config
from tests.starting import ctrl_c

MARK = "MASCING_STOPPED_RUN"
_ENDS_WITHIN_SECONDS = 10
_PATIENCE_SECONDS = 120
"""Ray's agents need this long to notice that their node is gone."""


def left_behind(mark: str) -> list[str]:
    """Command lines of the processes with ``mark`` in their environment: the run and its child processes.

    Prefect's server is always visible; some of Ray's processes overwrite their environment with their titles.
    """
    commands = []
    for number in filter(str.isdigit, os.listdir("/proc")):
        try:
            if f"{MARK}={mark}".encode() in Path("/proc", number, "environ").read_bytes().split(b"\0"):
                commands.append(Path("/proc", number, "cmdline").read_text().replace("\0", " "))
        except OSError:  # the process ended in the meantime
            continue
    return commands


def wait_until(holds: Callable[[], bool]) -> None:
    """Return as soon as ``holds()`` is true, or after a timeout."""
    deadline = monotonic() + _PATIENCE_SECONDS
    while not holds() and monotonic() < deadline:
        sleep(0.2)


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="processes are found by Linux's /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_run_that_is_told_to_stop_leaves_no_process_behind(
    number: signal.Signals, testbed_folder: Path, tmp_path: Path
) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(yaml.safe_dump(small_config(testbed_folder, tmp_path).model_dump(mode="json")))
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    with ctrl_c(signal.SIG_DFL):
        process = subprocess.Popen(
            [sys.executable, "-m", "mascing", "run", str(config), "--storage", str(tmp_path / "storage")],
            env={**environment, MARK: str(tmp_path), "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
    assert process.stdout is not None
    lines = []
    try:
        for line in process.stdout:
            lines.append(line)
            if line.startswith("train: 1/"):
                commands = left_behind(str(tmp_path))
                told = monotonic()
                process.send_signal(number)
        assert process.wait() == 130, "".join(lines)
        assert monotonic() - told < _ENDS_WITHIN_SECONDS, "".join(lines)
    finally:
        process.kill()

    assert any("own_server" in command for command in commands), f"Prefect's server is not seen: {commands}"
    assert lines[-1].startswith("stopped: finished stages are kept"), lines
    assert not [line for line in lines if line.startswith("Traceback")], lines
    wait_until(lambda: not left_behind(str(tmp_path)))
    assert left_behind(str(tmp_path)) == []
