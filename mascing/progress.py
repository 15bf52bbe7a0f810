"""Progress of a run: events in the standard logging module, drawn as bars or as plain lines.

Stages emit events; a listener decides how they look. The command line listens with `shown`.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from rich.console import Console

    from mascing.bars import Bars

Status = Literal["started", "step", "done", "already done", "written", "note", "waiting", "waited", "lost"]

_LOGGER = logging.getLogger("mascing.progress")
_LINES_A_STAGE = 10
_UNSAID = ("waited", "lost")
"""In a log the end of a wait is seen by what follows, and a loss is told as the error that ends the run."""


@dataclass(frozen=True)
class Event:
    """The state of a stage: ``done`` of ``total`` steps while it runs, ``seconds`` once it is done.

    ``text`` names the part of the work that ``done`` and ``total`` count, if a stage has several parts. In a ``note``
    it is what the stage learned about its own work, such as its cost. While the run is ``waiting``, and once it has
    ``waited``, ``stage`` is what for. If a server that the run needs is ``lost``, ``stage`` is its name and ``text``
    the line for the user.
    """

    stage: str
    status: Status
    done: int = 0
    total: int = 0
    seconds: float = 0.0
    text: str = ""

    @property
    def work(self) -> str:
        """The stage, and its part or finding from ``text``."""
        return f"{self.stage}: {self.text}" if self.text else self.stage

    def __str__(self) -> str:
        if self.status == "note":
            return self.work
        if self.status in ("waiting", "waited"):
            return self.stage
        if self.status == "step":
            return f"{self.work}: {self.done}/{self.total}"
        if self.status == "done":
            return f"{self.stage}: done in {self.seconds:.1f} s"
        return f"{self.stage}: {self.status}"


def tell(event: Event) -> None:
    """Send an event to all listeners."""
    _LOGGER.info("%s", event, extra={"event": event})


@contextmanager
def waiting_for(what: str) -> Iterator[None]:
    """Tell what the run waits for while the block runs, such as ``starting Ray``."""
    tell(Event(what, "waiting"))
    try:
        yield
    finally:
        tell(Event(what, "waited"))


@contextmanager
def shown(console: "Console", pause: float = 0.0) -> Iterator[Callable[[], None]]:
    """Draw events on ``console`` while the block runs: live bars on a terminal, plain lines elsewhere.

    A log has no line for a step within ``pause`` seconds of the line before. Yields a function that takes the bars away
    before the block ends.
    """
    if not console.is_terminal:
        with _heard_by(_LineHandler(partial(_print_line, console), pause)):
            yield lambda: None
        return
    from mascing.bars import Bars

    # Started and stopped here, not by the handler: Prefect closes every handler that exists when it is imported.
    with Bars(console) as bars, _heard_by(_BarHandler(bars)):
        yield bars.stop


@contextmanager
def forwarded(say: Callable[[str], None]) -> Iterator[None]:
    """Call ``say`` with the lines that a log shows while the block runs: all events, but few of a stage's steps."""
    with _heard_by(_LineHandler(say, 0.0)):
        yield


@contextmanager
def told_of_losses(end: Callable[[str], None]) -> Iterator[None]:
    """Call ``end`` with the line for the user if a server that the run needs is lost while the block runs."""

    def hear(event: Event) -> None:
        if event.status == "lost":
            end(event.text)

    with heard(hear):
        yield


@contextmanager
def heard(hear: Callable[[Event], None]) -> Iterator[None]:
    """Call ``hear`` with every event while the block runs."""
    with _heard_by(_EventHandler(hear)):
        yield


@contextmanager
def held_back() -> Iterator[list[Event]]:
    """Keep the events of the block from all listeners; yields the list that collects them."""
    held: list[Event] = []

    def hold(record: logging.LogRecord) -> bool:
        event = _event_of(record)
        if event is not None:
            held.append(event)
        return event is None

    _LOGGER.addFilter(hold)
    try:
        yield held
    finally:
        _LOGGER.removeFilter(hold)


@contextmanager
def _heard_by(handler: logging.Handler) -> Iterator[None]:
    level, propagate = _LOGGER.level, _LOGGER.propagate
    _LOGGER.addHandler(handler)
    _LOGGER.setLevel(logging.INFO)
    _LOGGER.propagate = False
    try:
        yield
    finally:
        _LOGGER.removeHandler(handler)
        _LOGGER.setLevel(level)
        _LOGGER.propagate = propagate
        handler.close()


def _print_line(console: "Console", line: str) -> None:
    console.print(line, soft_wrap=True, highlight=False, markup=False)
    console.file.flush()


class _LineHandler(logging.Handler):
    """Says one line per event, but at most ten for the steps of a stage or of one of its parts.

    A step has none within ``pause`` seconds of the line before.
    """

    def __init__(self, say: Callable[[str], None], pause: float) -> None:
        super().__init__()
        self._say, self._pause = say, pause
        self._last = time.monotonic()
        self._tenths: dict[str, int] = {}

    def emit(self, record: logging.LogRecord) -> None:
        event = _event_of(record)
        if (
            event is None
            or event.status in ("waited", "lost")
            or (event.status == "step" and not self._worth_a_line(event))
        ):
            return
        self._last = time.monotonic()
        self._say(str(event))

    def _worth_a_line(self, event: Event) -> bool:
        """Whether the stage is in a further tenth of its steps than when it last had a line, and it is time for one."""
        if time.monotonic() < self._last + self._pause:
            return False
        lines = min(event.total, _LINES_A_STAGE)
        tenth = event.done * lines // max(event.total, 1)
        before = self._tenths.get(event.work, 0)
        self._tenths[event.work] = tenth
        return tenth > before


class _EventHandler(logging.Handler):
    """Passes on events as they are."""

    def __init__(self, hear: Callable[[Event], None]) -> None:
        super().__init__()
        self._hear = hear

    def emit(self, record: logging.LogRecord) -> None:
        event = _event_of(record)
        if event is not None:
            self._hear(event)


class _BarHandler(logging.Handler):
    """Draws a live bar for what runs or is waited for, and prints one lasting line for each finished stage."""

    def __init__(self, bars: "Bars") -> None:
        super().__init__()
        self._bars = bars

    def emit(self, record: logging.LogRecord) -> None:
        event = _event_of(record)
        if event is None or event.status == "lost":
            return
        if event.status in ("started", "waiting"):
            self._bars.start(event.stage)
        elif event.status == "step":
            self._bars.advance(event.stage, event.work, event.done, event.total)
        elif event.status == "waited":
            self._bars.end(event.stage)
        else:
            if event.status != "note":
                self._bars.end(event.stage)
            self._bars.say(str(event))


def _event_of(record: logging.LogRecord) -> Event | None:
    event = getattr(record, "event", None)
    return event if isinstance(event, Event) else None
