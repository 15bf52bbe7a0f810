"""A Ray cluster on a free local port, started once per session for the first test that needs it."""

import os
import signal
import socket
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep

import pytest
from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]

from mascing.reachability import speaks_grpc

TOKEN = "a token of the cluster and of no other"
_PATIENCE_SECONDS = 120


@pytest.fixture(scope="session")
def ray_with_token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a Ray cluster of one CPU that takes calls with TOKEN only."""
    folder = tmp_path_factory.mktemp("head")
    with socket.create_server(("", 0)) as free, tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as short:
        address = f"127.0.0.1:{free.getsockname()[1]}"
        free.close()
        head = subprocess.Popen(
            [
                Path(sysconfig.get_path("scripts"), "ray"), "start", "--head", "--block", "--num-cpus=1",
                f"--port={address.rpartition(':')[2]}", "--include-dashboard=false", f"--temp-dir={short}",
                "--object-store-memory=80000000",
            ],
            env={**os.environ, "HOME": str(folder), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        try:
            deadline = monotonic() + _PATIENCE_SECONDS
            while not speaks_grpc(address):
                assert monotonic() < deadline
                assert head.poll() is None
                sleep(0.1)
            yield address
        finally:
            os.killpg(head.pid, signal.SIGKILL)
            head.wait()


@pytest.fixture
def own_settings_of_ray(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Settings of Ray that end with the test: without any before, and with no token remembered by this process."""
    for name in ("RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    AuthenticationTokenLoader.instance().reset_cache()
    yield monkeypatch
    AuthenticationTokenLoader.instance().reset_cache()
