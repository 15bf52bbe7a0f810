"""A run at a terminal: the bars that it draws, and how it ends on Ctrl-C."""

import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import yaml

from tests.small_run import small_config
from tests.starting import ctrl_c
from tests.terminal import Terminal, at_terminal

NARROW, WIDE = 60, 120
SECONDS_TO_A_BAR = 240
SECONDS_TO_THE_END = 10
# Count, rate, perhaps the time that is left, and the time that has passed.
COUNTED = re.compile(r"^\S (\w+).* \d+/\d+ +[\d.]+/(s|min|h)( +eta [\d:]+)? +\d+:\d\d$")
WAITED_FOR = ("starting Prefect, ", "starting Ray, ", "loading the model")


@contextmanager
def run(testbed: Path, folder: Path, columns: int) -> Iterator[Terminal]:
    """`mascing run` at a terminal, with a Prefect server of its own."""
    config = folder / "run.yaml"
    config.write_text(yaml.safe_dump(small_config(testbed, folder, workers=1).model_dump(mode="json")))
    command = [sys.executable, "-m", "mascing", "run", str(config), "--storage", str(folder / "storage")]
    hidden = ("PREFECT_API_URL", "COLUMNS", "LINES", "NO_COLOR")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    with ctrl_c(signal.SIG_DFL), at_terminal(command, columns, {**environment, "TERM": "xterm-256color"}) as terminal:
        yield terminal


def started_by(terminal: Terminal) -> list[psutil.Process]:
    return psutil.Process(terminal.pid).children(recursive=True)


def end(processes: list[psutil.Process]) -> bool:
    """Whether all processes end by themselves."""
    return not psutil.wait_procs(processes, timeout=240)[1]  # a busy machine once took over a minute


def bars(terminal: Terminal) -> list[str]:
    return [line for line in terminal.lines if COUNTED.match(line)]


def test_bars_fit_the_window_and_ctrl_c_ends_the_run(testbed_folder: Path, tmp_path: Path) -> None:
    waited_for: set[str] = set()
    with run(testbed_folder, tmp_path, NARROW) as terminal:

        def counted(screen: Terminal) -> bool:
            waited_for.update(what for what in WAITED_FOR for line in screen.lines if f" {what}" in line)
            return bool(bars(screen))

        assert terminal.watch(counted, SECONDS_TO_A_BAR), terminal.scrolled
        assert waited_for == set(WAITED_FOR)
        assert all(len(line) < NARROW for line in bars(terminal))
        terminal.widen(WIDE)
        assert terminal.watch(lambda _: any(len(line) > NARROW for line in bars(terminal)), SECONDS_TO_A_BAR)
        assert all(len(line) < WIDE for line in bars(terminal))
        processes = started_by(terminal)
        terminal.type("\x03")
        assert terminal.wait(SECONDS_TO_THE_END) == 130
        said = " ".join(terminal.scrolled)
        assert said.endswith("stopped: finished stages are kept; the same command goes on from there")
        assert not bars(terminal), "the bars are left on the screen"
        assert "Traceback" not in terminal.text
        assert "raylet" not in terminal.text
    assert end(processes)
