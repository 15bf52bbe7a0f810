"""Hold back what this process writes to stderr, native code included, while what it complains of is told otherwise."""

import os
import tempfile
from contextlib import suppress
from threading import Lock
from typing import IO

_STDERR = 2  # of native code as well, unlike sys.stderr


class MutedStderr:
    """The stderr of the process, to be muted from any thread, and restored."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._muted: tuple[int, IO[bytes]] | None = None

    def mute(self) -> None:
        """Hold back from now on what is written; without effect if it is muted, or if there is no stderr."""
        with self._lock, suppress(OSError):  # it is closed, or there is no room for what is held back
            if self._muted is None:
                held = tempfile.TemporaryFile()  # noqa: SIM115 - open until `restore`
                self._muted = os.dup(_STDERR), held
                os.dup2(held.fileno(), _STDERR)

    def restore(self, replay: bool) -> None:
        """Let stderr be written to again, after what was held back if ``replay``; without effect if it is not muted."""
        with self._lock:
            if self._muted is None:
                return
            (kept, held), self._muted = self._muted, None
            os.dup2(kept, _STDERR)
            with held, os.fdopen(kept, "wb") as stderr:
                if replay:
                    held.seek(0)
                    stderr.write(held.read())
