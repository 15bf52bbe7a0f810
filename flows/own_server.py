"""A Prefect server of the run's own, where the user names none: it starts beside other work and ends with this process.

Prefect would start one too, but only when the first flow begins, and it would outlive a run that is killed.
"""

import atexit
import os
import socket
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic, sleep
from typing import IO

from mascing.errors import MascingError
from mascing.progress import waiting_for
from mascing.tasks.guarding.guardian import guarded

_STOP_SECONDS = 1
_WITHOUT_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def start_server() -> "OwnServer":
    """Start a server, and return before it answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening, guarded():
        log = tempfile.TemporaryFile()  # noqa: SIM115 - the server writes to it as long as it runs
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(listening.fileno())],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=[listening.fileno()],
            env={**os.environ, "PREFECT_UI_ENABLED": "false"},
            # Ctrl-C at the terminal must not end it before the flow has told it how it ended.
            start_new_session=True,
        )
        port = listening.getsockname()[1]
    assert process.stdin is not None
    # Called after what Prefect registers later, which still sends logs to the server.
    atexit.register(process.stdin.close)
    return OwnServer(process, log, f"http://127.0.0.1:{port}/api")


class OwnServer:
    """A server that may still be starting."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: IO[bytes], url: str) -> None:
        self._process = process
        self._log = log
        self._url = url

    @contextmanager
    def used(self) -> Iterator[None]:
        """Let the flows of the block run on the server, once it answers.

        Raises MascingError if it does not start.
        """
        from prefect.settings import PREFECT_API_URL, get_current_settings, temporary_settings

        settings = get_current_settings()
        first = not (settings.home / "prefect.db").exists()
        with waiting_for(f"starting Prefect, {'for the first time about 20' if first else 'about 5'} s"):
            self._wait(settings.server.ephemeral.startup_timeout_seconds)
        with temporary_settings({PREFECT_API_URL: self._url}):
            yield

    def _wait(self, seconds: float) -> None:
        deadline = monotonic() + seconds
        while self._process.poll() is None and monotonic() < deadline:
            try:
                with _WITHOUT_PROXY.open(f"{self._url}/health", timeout=1):
                    return
            except (urllib.error.URLError, OSError):
                sleep(0.1)
        self._log.seek(0)
        last = (self._log.read().decode(errors="replace").strip() or "it says nothing").splitlines()[-1]
        raise MascingError(
            f"Prefect's server does not start ({last}): look at PREFECT_HOME, or start one (`prefect server start`) "
            "and name it in PREFECT_API_URL"
        )


def _serve(descriptor: int) -> None:
    """Serve on the socket until standard input ends, which it does when the run ends or is killed."""
    import uvicorn
    from prefect.server.api.server import create_app

    app = create_app(ephemeral=True, final=True)
    server = uvicorn.Server(
        uvicorn.Config(app, log_level="error", lifespan="on", timeout_graceful_shutdown=int(_STOP_SECONDS))
    )

    def end_with_the_run() -> None:
        sys.stdin.buffer.read()
        server.should_exit = True
        sleep(2 * _STOP_SECONDS)
        os._exit(0)

    threading.Thread(target=end_with_the_run, daemon=True).start()
    server.run(sockets=[socket.socket(fileno=descriptor)])


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
