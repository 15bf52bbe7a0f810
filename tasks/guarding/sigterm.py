"""SIGTERM stops a run as Ctrl-C does, whichever library would rather have the signal."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ray._private import utils


def interrupt_on_sigterm() -> None:
    """Make SIGTERM stop a run and all its processes, by the handler of Ctrl-C unless that one is ignored.

    The handlers of Ray and Prefect do not: the first ends this process at once, the second raises an exception that
    Ray's calls cannot pass on.
    """
    if threading.current_thread() is threading.main_thread():
        handler = signal.getsignal(signal.SIGINT)
        signal.signal(signal.SIGTERM, handler if callable(handler) else signal.default_int_handler)


@contextmanager
def interrupted_on_sigterm() -> Iterator[None]:
    """The same while Ray starts in the block: Ray takes the signal first of all, and starting may take minutes."""
    interrupt_on_sigterm()
    claim = utils.set_sigterm_handler
    utils.set_sigterm_handler = lambda handler: None
    try:
        yield
    finally:
        utils.set_sigterm_handler = claim
