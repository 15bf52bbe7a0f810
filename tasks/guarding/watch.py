"""Watch the servers that a run cannot do without: their own clients wait for minutes or for ever, or end the process.

A thread asks them, because the others may hang in just such a client.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from threading import Event as Flag
from threading import Thread, Timer
from time import monotonic

from mascing.errors import ServerError
from mascing.progress import Event, tell
from mascing.tasks.guarding.muted import MutedStderr

_PAUSE_SECONDS = 5.0
_GLANCE_SECONDS = 0.2
"""How often it is looked whether a process that this one started has ended: Ray's client soon ends its own for that."""
_DOUBT_SECONDS = 1.0
"""The pause after a question that was not answered."""
_QUESTIONS = 3
"""Unanswered ones in a row, each of which takes seconds where the other side is silent rather than gone."""
_KEPT = "finished stages are kept, and the same command goes on from there"


@dataclass(frozen=True)
class Part:
    """A server that the run needs: its name, a question that takes at most 5 s, and what to do if it is lost.

    ``lost`` is called before the loss is told. ``ended`` takes no time, and is certain: the process is gone.
    """

    name: str
    answers: Callable[[], bool]
    advice: str
    lost: Callable[[], None] = lambda: None
    ended: Callable[[], bool] = lambda: False


class Watch:
    """Asks the parts in turn; if one is lost, that is an event, and an error of `refuse_lost`.

    The event makes the command line end the run, whatever hangs; without it, who waits for a part asks. Until it is
    clear whether a part is lost, stderr is held back: Ray's native code complains there at length.
    """

    def __init__(self, *parts: Part) -> None:
        self._parts = parts
        self._closed = Flag()
        self._loss: str | None = None
        self._stderr = MutedStderr()
        # Settings of Prefect are variables of the context.
        Thread(target=copy_context().run, args=(self._watch,), daemon=True).start()

    def refuse_lost(self) -> None:
        """Raise ServerError if a part was lost. It asks nobody, so it can be called at any rate."""
        if self._loss is not None:
            raise ServerError(self._loss)

    def close(self) -> None:
        """Watch no more."""
        self._closed.set()
        self._stderr.restore(replay=self._loss is None)

    def _watch(self) -> None:
        unanswered = 0
        while not self._closes_within(_DOUBT_SECONDS if unanswered else _PAUSE_SECONDS):
            if (ended := self._ended()) is not None:
                self._tell_loss(ended)
                return
            silent = next((part for part in self._parts if not part.answers()), None)
            if self._closed.is_set():
                return
            if silent is None:
                self._stderr.restore(replay=True)
                unanswered = 0
                continue
            self._stderr.mute()
            unanswered += 1
            if unanswered == _QUESTIONS:
                self._tell_loss(silent)
                return

    def _closes_within(self, seconds: float) -> bool:
        """Wait until the watch is closed, a process has ended, or the seconds are over; whether it is closed."""
        over = monotonic() + seconds
        while monotonic() < over and self._ended() is None:
            if self._closed.wait(_GLANCE_SECONDS):
                return True
        return self._closed.is_set()

    def _ended(self) -> Part | None:
        return next((part for part in self._parts if part.ended()), None)

    def _tell_loss(self, part: Part) -> None:
        part.lost()
        self._loss = loss(f"{part.name} does not answer any more", part.advice)
        self._stderr.restore(replay=False)
        tell(Event(part.name, "lost", text=self._loss))


@contextmanager
def done_within(seconds: float, name: str, verb: str, advice: str) -> Iterator[None]:
    """Tell that a part is lost, as it does not ``verb``, if the block takes longer."""
    text = loss(f"{name} does not {verb} within {seconds:.0f} s", advice)
    timer = Timer(seconds, lambda: tell(Event(name, "lost", text=text)))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def loss(what: str, advice: str) -> str:
    """The line for a part that is lost."""
    return f"{what}: {advice}; {_KEPT}"
