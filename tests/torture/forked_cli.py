"""Run command lines, each in a fork of a process that has imported what all of them import before they can complain.

``python -m tests.torture.forked_cli`` reads one JSON object a line (`arguments`, `environment`, `folder`) and prints
one for each. Its first line holds the CPU seconds of the imports, which every command would spend as well. All seconds
are those of a fast processor: a yardstick is timed beside what is measured, as others may slow the processor down twice
from one second to the next.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SERVICES = ("prefect", "ray")

YARDSTICK_SECONDS = 0.02
"""About what the yardstick takes on a processor that limits are for; a slower or busier one gets as much more time.

Estimated from the imports: they took 1.8 CPU seconds where the limits were set, and 2.5 where the yardstick took 0.028.
"""


@dataclass(frozen=True)
class Said:
    """What a command printed, its exit code, its CPU seconds with all imports, and the services it imported.

    ``waited`` are the seconds in which it did not compute: it waited for an answer, or others used the processor.
    """

    code: int
    text: str
    seconds: float
    waited: float
    services: tuple[str, ...]


class ForkedCli:
    """The process that forks."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self._imports = self._answer()["cpu"]

    def run(self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Said:
        """Run a command line in a folder, with further variables of the environment."""
        assert self._process.stdin is not None
        asked = {"arguments": [*arguments], "folder": str(folder), "environment": {**environment}}
        self._process.stdin.write(f"{json.dumps(asked)}\n")
        self._process.stdin.flush()
        told = self._answer()
        return Said(told["code"], told["text"], self._imports + told["cpu"], told["waited"], tuple(told["services"]))

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())


@contextmanager
def forked_cli() -> Iterator[ForkedCli]:
    """Start the process without variables that would change what the commands find."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PREFECT_", "RAY_")) and not name.lower().endswith("_proxy")
    }
    environment["HF_HUB_OFFLINE"] = "1"  # read when the hub's client is imported
    with subprocess.Popen(
        [sys.executable, "-m", "tests.torture.forked_cli"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=Path(__file__).parents[2],
    ) as process:
        yield ForkedCli(process)
        assert process.stdin is not None
        process.stdin.close()


def _serve() -> None:
    started = time.process_time()
    slowness = _slowness()
    yardstick = time.process_time() - started
    # A command makes a tokenizer unless it is refused for its configuration before.
    from transformers import PreTrainedTokenizerFast  # noqa: F401

    import mascing.cli
    import mascing.commands.line
    import mascing.preflight.checks

    cpu = time.process_time() - yardstick
    print(json.dumps({"cpu": cpu / _mean(slowness, _slowness())}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        with tempfile.TemporaryFile("w+") as told:
            child = os.fork()
            if child == 0:
                _run(asked, told.fileno(), mascing.cli.main)
            os.waitpid(child, 0)
            told.seek(0)
            *text, last = told.read().splitlines()
        print(json.dumps({**json.loads(last), "text": "\n".join(text)}), flush=True)


def _run(asked: Any, told: int, main: Any) -> None:
    for descriptor in (1, 2):
        os.dup2(told, descriptor)
    os.chdir(asked["folder"])
    os.environ.update(asked["environment"])
    slowness = _slowness()
    started, computed = time.monotonic(), time.process_time()
    code = main(asked["arguments"])
    cpu = time.process_time() - computed
    waited = time.monotonic() - started - cpu
    sys.stdout.flush()
    services = [name for name in SERVICES if name in sys.modules]
    seconds = cpu / _mean(slowness, _slowness())
    print(f"\n{json.dumps({'code': code, 'cpu': seconds, 'waited': waited, 'services': services})}", flush=True)
    os._exit(0)


def _slowness() -> float:
    """How many times as long as on a fast processor the yardstick takes now, at least 1."""
    started = time.process_time()
    sorted(str(n * 7919 % 100_003) for n in range(60_000))
    return max(1.0, (time.process_time() - started) / YARDSTICK_SECONDS)


def _mean(before: float, after: float) -> float:
    return (before + after) / 2


if __name__ == "__main__":
    _serve()
