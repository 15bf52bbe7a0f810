"""A run that receives a stop signal ends all its processes and says how to continue.

Ctrl-C, which a terminal sends to the whole process group, is typed in test_at_terminal.
"""

import os
import re
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
def test_a_run_that_is_told_to_stop_leaves_no_process_behind(testbed_folder: Path, tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(yaml.safe_dump(small_config(testbed_folder, tmp_path, workers=1).model_dump(mode="json")))
    stop(signal.SIGTERM, config)
    lines = stop(signal.SIGINT, config)  # the same command goes on from there
    assert "harvest: already done\n" in lines


def stop(number: signal.Signals, config: Path) -> list[str]:
    """Start the run, send it a signal while it trains, and see it end; returns its lines."""
    folder = config.parent
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    with ctrl_c(signal.SIG_DFL):
        process = subprocess.Popen(
            [sys.executable, "-m", "mascing", "run", str(config), "--storage", str(folder / "storage")],
            env={**environment, MARK: str(folder), "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
    assert process.stdout is not None
    lines: list[str] = []
    told = None
    try:
        for line in process.stdout:
            lines.append(line)
            if told is None and re.match(r"train: [1-9]", line):
                commands = left_behind(str(folder))
                told = monotonic()
                process.send_signal(number)
        assert process.wait() == 130, "".join(lines)
        assert told is not None, "".join(lines)
        assert monotonic() - told < _ENDS_WITHIN_SECONDS, "".join(lines)
    finally:
        process.kill()

    assert any("own_server" in command for command in commands), f"Prefect's server is not seen: {commands}"
    assert lines[-1].startswith("stopped: finished stages are kept"), lines
    assert not [line for line in lines if line.startswith("Traceback")], lines
    wait_until(lambda: not left_behind(str(folder)))
    assert left_behind(str(folder)) == []
    return lines
