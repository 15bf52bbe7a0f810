"""A server that a run needs and that dies or hangs ends the run within half a minute, with a line on what to do."""

import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import psutil
import yaml

from tests.small_run import small_config

TOLD_WITHIN_SECONDS = 30
ENDED_WITHIN_SECONDS = 20
"""After the line: servers are told, if they still listen."""
PREFECT = "mascing.flows.own_server"
SERVERS = (
    ("/raylet/raylet", signal.SIGKILL, "Ray's raylet"),
    ("/gcs/gcs_server", signal.SIGSTOP, "Ray's GCS"),
    (PREFECT, signal.SIGSTOP, "Prefect's server"),
)


@dataclass
class Lost:
    """What a run said after a server was lost: its exit code and lines, and when it was lost, told and over."""

    code: int
    lines: list[str]
    lost: float
    told: float
    ended: float


def lose(server: str, number: signal.Signals, testbed: Path, folder: Path, prefect_url: str) -> Lost:
    """Start a run, and send a signal to one of its servers in the middle of a stage.

    Its server of Prefect is that of the URL, unless its own is to be lost: each start of one takes seconds.
    """
    folder.mkdir()
    config = folder / "run.yaml"
    config.write_text(yaml.safe_dump(small_config(testbed, folder, workers=1).model_dump(mode="json")))
    hidden = ("PREFECT_API_URL", "RAY_ADDRESS")
    run = subprocess.Popen(
        [sys.executable, "-m", "mascing", "run", str(config), "--storage", str(folder / "storage")],
        env={key: value for key, value in os.environ.items() if key not in hidden}
        | {"PYTHONUNBUFFERED": "1"}
        | ({} if server == PREFECT else {"PREFECT_API_URL": prefect_url}),
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
            # The worker waits, so that the run cannot be done before its loss is told.
            for worker in psutil.Process(run.pid).children(recursive=True):
                if "ray::Worker" in worker.name():
                    worker.suspend()
            process.send_signal(number)
            lost = monotonic()
        if line.startswith("error: "):
            told = monotonic()
    return Lost(run.wait(), lines, lost, told, monotonic())


def test_a_lost_server_ends_the_run_with_one_line(testbed_folder: Path, tmp_path: Path, prefect_url: str) -> None:
    # Two side by side, because a run waits for most of the half minute.
    with ThreadPoolExecutor(2) as beside:
        runs = [
            beside.submit(lose, server, number, testbed_folder, tmp_path / str(place), prefect_url)
            for place, (server, number, _) in enumerate(SERVERS)
        ]
    for run, (_, _, name) in zip(runs, SERVERS, strict=True):
        lost = run.result()
        said = "".join(lost.lines)
        assert lost.code == 1, said
        assert lost.told - lost.lost < TOLD_WITHIN_SECONDS, said
        assert lost.ended - lost.told < ENDED_WITHIN_SECONDS, said
        assert re.match(f"error: {name}.* does not answer any more: .*; finished stages are kept", lost.lines[-1]), said
        assert len([line for line in lost.lines if line.startswith("error: ")]) == 1, said
        assert "Traceback" not in said
