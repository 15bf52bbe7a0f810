"""Stop a run on Ctrl-C or SIGTERM: it ends within seconds, with every process that it started."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Thread, Timer
from types import FrameType

import psutil
import typer

from mascing.tasks.guarding.guardian import is_guardian
from mascing.tasks.guarding.muted import MutedStderr

STOPPED = 130  # as a shell reports a program that Ctrl-C ended
FAILED = 1  # as for every error that the user can act on
PATIENCE_SECONDS = 6.0
"""How long a run may close its servers before it is killed with them."""


@contextmanager
def stoppable(say_stopped: Callable[[], None]) -> Iterator[Callable[[Callable[[], None]], None]]:
    """Run the block in such a way that Ctrl-C and SIGTERM end it alike.

    Yields a function for other threads, which ends the block in the same way, but calls its argument instead of
    ``say_stopped``, at once, and makes the program exit with FAILED.

    The first signal raises KeyboardInterrupt, after which the block closes what it opened; then ``say_stopped`` is
    called, and the program exits with STOPPED. What the block writes to stderr meanwhile is dropped: Ray's native code
    complains there of servers that end. If it still runs after PATIENCE_SECONDS, or at a second signal, it is
    killed with all its child processes: clients wait for minutes on servers that the same Ctrl-C ended, and an
    exception that a signal raises inside a library's own cleanup can be lost. A program that was started with Ctrl-C
    ignored, as a shell script starts its background jobs, goes on ignoring it.
    """
    stop = _Stop(say_stopped, ignores_interrupt=signal.getsignal(signal.SIGINT) is signal.SIG_IGN)
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop.fail
    except KeyboardInterrupt:
        stop.say_once()
        raise typer.Exit(stop.code) from None
    finally:
        stop.restore_stderr()
        # By default a signal that comes while a stopped program exits would leave its servers behind.
        if not stop.called:
            for number, handler in before.items():
                signal.signal(number, handler)


class _Stop:
    """The signal handler, which knows whether it was called before."""

    def __init__(self, say_stopped: Callable[[], None], ignores_interrupt: bool) -> None:
        self._say_stopped: Callable[[], None] | None = say_stopped
        self._ignores_interrupt = ignores_interrupt
        self.called = False
        self.code = STOPPED
        self._stderr = MutedStderr()

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self._ignores_interrupt and self.code != FAILED:
            return
        if self.called:
            self._end()
        self.called = True
        self._end_soon()
        self._stderr.mute()
        raise KeyboardInterrupt

    def fail(self, say: Callable[[], None]) -> None:
        """Say why the program ends, and end it, from another thread."""
        if self.called:
            return
        self._say_stopped, self.code = say, FAILED
        self._end_soon()  # here as well, because the main thread may never come to the signal
        self._say_soon()
        os.kill(os.getpid(), signal.SIGINT)  # libraries have handlers of their own for SIGTERM

    def _end_soon(self) -> None:
        # A thread of its own, because the main thread may hang: in the block, or while the interpreter exits.
        timer = Timer(PATIENCE_SECONDS, self._end)
        timer.daemon = True
        timer.start()

    def restore_stderr(self) -> None:
        """Let stderr be written to again."""
        self._stderr.restore(replay=False)

    def say_once(self) -> None:
        if self._say_stopped is not None:
            say, self._say_stopped = self._say_stopped, None
            say()

    def _say_soon(self) -> None:
        saying = Thread(target=self.say_once, daemon=True)
        saying.start()
        saying.join(1)  # the interrupted thread may hold the console's lock

    def _end(self) -> None:
        self._say_soon()
        for child in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                if not is_guardian(child):
                    child.kill()
        os._exit(self.code)
