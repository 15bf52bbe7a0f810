"""A Prefect server on a free local port, started once per session for the first test that needs it."""

import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_LOGGING_LEVEL, PREFECT_LOGGING_TO_API_ENABLED, temporary_settings

# Its first start migrates its database, and other tests may keep the machine busy; a server that dies ends the wait.
_PATIENCE_SECONDS = 600


@pytest.fixture(scope="session")
def prefect_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """``PREFECT_API_URL`` of the server, which has its own database; set the variable for subprocesses."""
    with served(tmp_path_factory.mktemp("prefect")) as url:
        yield url


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """URL of the API of a server that keeps its database in ``folder`` and ends with the block."""
    folder.mkdir(exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = {"PREFECT_HOME": str(folder), "DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    with open(folder / "log.txt", "wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui"],
            env={**os.environ, **settings},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        url = f"http://127.0.0.1:{port}/api"
        _wait_for(url, server, folder / "log.txt")
        yield url
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


@pytest.fixture(scope="module")
def prefect_here(prefect_url: str) -> Iterator[None]:
    """Make flows of this process use the server and log nothing."""
    quiet = {PREFECT_LOGGING_LEVEL: "CRITICAL", PREFECT_LOGGING_TO_API_ENABLED: False}
    with temporary_settings({PREFECT_API_URL: prefect_url, **quiet}):
        yield


def _wait_for(url: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = monotonic() + _PATIENCE_SECONDS
    while monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            sleep(0.2)
    raise RuntimeError(f"the Prefect server does not start: {log.read_text()[-2000:]}")
