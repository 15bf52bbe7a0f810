"""Progress of a run: events in the standard logging module, drawn as a bar or as plain lines.

Stages emit events; a listener decides how they look. The command line listens with `shown`.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

Status = Literal["started", "step", "done", "already done", "written", "note"]

_LOGGER = logging.getLogger("mascing.progress")
_LINES_A_STAGE = 10


@dataclass(frozen=True)
class Event:
    """The state of a stage: ``done`` of ``total`` steps while it runs, ``seconds`` once it is done.

    ``text`` names the part of the work that ``done`` and ``total`` count, if a stage has several parts. In a ``note``
    it is what the stage learned about its own work, such as its cost.
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
        if self.status == "step":
            return f"{self.work}: {self.done}/{self.total}"
        if self.status == "done":
            return f"{self.stage}: done in {self.seconds:.1f} s"
        return f"{self.stage}: {self.status}"


def tell(event: Event) -> None:
    """Send an event to all listeners."""
    _LOGGER.info("%s", event, extra={"event": event})


@contextmanager
def shown(console: "Console") -> Iterator[None]:
    """Draw events on ``console`` while the block runs: a live bar on a terminal, plain lines elsewhere."""
    handler = _BarHandler(console) if console.is_terminal else _LineHandler(console)
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


class _LineHandler(logging.Handler):
    """Prints one line per event, but at most ten for the steps of a stage or of one of its parts."""

    def __init__(self, console: "Console") -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        event = _event_of(record)
        if event is not None and (event.status != "step" or _worth_a_line(event)):
            self._console.print(str(event), soft_wrap=True, highlight=False, markup=False)
            self._console.file.flush()


class _BarHandler(logging.Handler):
    """Draws a live bar for the running stage and prints one lasting line for each finished stage."""

    def __init__(self, console: "Console") -> None:
        super().__init__()
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description:<10}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._progress: Progress = Progress(*columns, console=console, transient=True)
        self._bars: dict[str, TaskID] = {}
        self._progress.start()

    def emit(self, record: logging.LogRecord) -> None:
        event = _event_of(record)
        if event is None:
            return
        if event.status == "started":
            self._bars[event.stage] = self._progress.add_task(event.stage, total=None)
        elif event.status == "step":
            bar = self._bars[event.stage]
            self._progress.update(bar, description=event.work, completed=event.done, total=event.total)
        else:
            if event.stage in self._bars and event.status != "note":
                self._progress.remove_task(self._bars.pop(event.stage))
            self._progress.console.print(str(event), soft_wrap=True, highlight=False, markup=False)

    def close(self) -> None:
        self._progress.stop()
        super().close()


def _event_of(record: logging.LogRecord) -> Event | None:
    event = getattr(record, "event", None)
    return event if isinstance(event, Event) else None


def _worth_a_line(event: Event) -> bool:
    lines = min(event.total, _LINES_A_STAGE)
    return event.done > 0 and (event.done * lines) // event.total > ((event.done - 1) * lines) // event.total
