"""Start processes with Ctrl-C as a terminal leaves it, or ignored, however the tests themselves were started."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def ctrl_c(handler: signal.Handlers) -> Iterator[None]:
    """Processes that the block starts inherit SIG_DFL or SIG_IGN; a shell's background jobs inherit SIG_IGN."""
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
