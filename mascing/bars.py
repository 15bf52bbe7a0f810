"""Live bars on a terminal: what runs, how far it is, how fast, how long still, and how long it has taken."""

from collections.abc import Callable, Iterable
from math import ceil
from time import monotonic
from types import TracebackType

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TaskID, TextColumn
from rich.table import Column
from rich.text import Text

from mascing.prose import wrapped

_WIDE = 100
"""Columns of a terminal from which on a bar fits beside its numbers and a name such as that of a run."""
_SPEED_SECONDS = 300.0
"""Steps of the last so many seconds make the rate."""


class Bars:
    """A bar for each running piece of work, below the lines that stay. Drawn from ``__enter__`` to ``stop``."""

    def __init__(self, console: Console) -> None:
        bar = (BarColumn(bar_width=20),) if console.width >= _WIDE else ()
        # The name gives way first: without its numbers a bar says nothing.
        name = TextColumn(
            "{task.description}", markup=False, table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")
        )
        numbers = map(_Numbers, (_count, _rate, _remaining, _elapsed))
        columns = (SpinnerColumn(), name, *bar, *numbers)
        self._progress = _NarrowerProgress(
            *columns, console=console, transient=True, speed_estimate_period=_SPEED_SECONDS
        )
        self._running: dict[str, TaskID] = {}

    def __enter__(self) -> "Bars":
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Take all bars away; calling it again does nothing."""
        self._progress.stop()

    def start(self, work: str) -> None:
        """Draw a bar for ``work``, whose steps are not known yet."""
        self.end(work)
        self._running[work] = self._progress.add_task(work, total=None, since=monotonic())

    def advance(self, work: str, description: str, done: int, total: int) -> None:
        """Move the bar of ``work`` to ``done`` of ``total`` steps; a new description begins a new count."""
        if work not in self._running:
            self.start(work)
        bar = self._running[work]
        task = self._progress.tasks[self._progress.task_ids.index(bar)]
        if task.total is None or task.description != description:
            self._progress.reset(bar, description=description)  # what was waited for before is no part of the rate
        self._progress.update(bar, completed=done, total=total)

    def end(self, work: str) -> None:
        """Take the bar of ``work`` away, if there is one."""
        if work in self._running:
            self._progress.remove_task(self._running.pop(work))

    def say(self, line: str) -> None:
        """Print a line that stays, above the bars."""
        console = self._progress.console
        console.print(wrapped(line, console.width), soft_wrap=True, highlight=False, markup=False)


class _NarrowerProgress(Progress):
    """Leaves room at the right: a terminal that has to wrap the `^C` of whoever stops the run would shift the bars."""

    def get_renderables(self) -> Iterable[RenderableType]:
        if self.tasks:
            table = self.make_tasks_table(self.tasks)
            table.width = self.console.width - len("^C") - 1
            yield table


class _Numbers(ProgressColumn):
    """A column of numbers that is never cut; ``text_of`` says what it shows of a piece of work."""

    def __init__(self, text_of: Callable[[Task], str]) -> None:
        super().__init__(Column(no_wrap=True, justify="right"))
        self._text_of = text_of

    def render(self, task: Task) -> Text:
        return Text(self._text_of(task))


def _count(task: Task) -> str:
    return "" if task.total is None else f"{task.completed:g}/{task.total:g}"


def _rate(task: Task) -> str:
    speed = _speed(task)
    if not speed:
        return ""
    for unit, seconds in (("s", 1), ("min", 60)):
        if speed * seconds >= 1:
            return f"{speed * seconds:.1f}/{unit}"
    return f"{speed * 3600:.1f}/h"


def _remaining(task: Task) -> str:
    speed = _speed(task)
    return "" if not speed or task.remaining is None or task.finished else f"eta {clock(ceil(task.remaining / speed))}"


def _speed(task: Task) -> float | None:
    """Steps a second, by the latest steps; rich begins that only with the second step, so the first counts alone."""
    if task.speed or not task.elapsed:
        return task.speed
    return task.completed / task.elapsed


def _elapsed(task: Task) -> str:
    return clock(monotonic() - float(task.fields["since"]))


def clock(seconds: float) -> str:
    """Minutes and seconds, with hours where there are any: ``1:05``, ``2:03:09``."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
