"""How far a stage is, how fast and how long still, as an artifact on Prefect's page of the run."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from logging import getLogger
from threading import Event as Flag
from threading import Lock, Thread
from time import monotonic
from typing import cast
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact

from mascing.progress import Event, heard
from mascing.report.wording import duration

_EVERY_SECONDS = 5.0
_PATIENCE_SECONDS = 5.0
"""How long the end of a stage waits for the last word of its progress to be written."""
_PACE_SECONDS = 300.0
"""Steps of the last so many seconds make the rate, as on a terminal."""

_LOG = getLogger(__name__)


@contextmanager
def progress_artifact(stage: str) -> Iterator[None]:
    """Keep an artifact of the running task up to date with the steps that ``stage`` tells while the block runs.

    A thread writes it every few seconds, so a server that is slow or gone delays nothing and fails nothing. A stage
    that is done before the first of them has none.
    """
    pace, ended = Pace(), Flag()
    # Prefect finds the run that an artifact belongs to in variables of the context.
    thread = Thread(target=copy_context().run, args=(_write, stage, pace, ended), daemon=True)
    thread.start()
    try:
        with heard(lambda event: pace.add(event, monotonic()) if event.stage == stage else None):
            yield
    finally:
        ended.set()
        thread.join(_PATIENCE_SECONDS)


@dataclass(frozen=True)
class Progress:
    """The share of the steps that are done, in percent, and the rest in words."""

    percent: float
    text: str


class Pace:
    """The steps that a stage has told, of its latest part alone; one thread tells them, and another one asks."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._told: deque[tuple[float, Event]] = deque()

    def add(self, event: Event, now: float) -> None:
        """Note a step told at ``now``, in seconds; other events say nothing of the pace."""
        if event.status != "step":
            return
        with self._lock:
            if self._told and self._told[-1][1].work != event.work:
                self._told.clear()
            self._told.append((now, event))
            while now - self._told[0][0] > _PACE_SECONDS and len(self._told) > 2:
                self._told.popleft()

    def now(self) -> Progress | None:
        """How far the stage is; None before its first step."""
        with self._lock:
            if not self._told:
                return None
            (began, first), (ended, last) = self._told[0], self._told[-1]
        parts = [f"{last.work}: {last.done:,} of {last.total:,}"]
        if last.done > first.done and ended > began:
            rate = (last.done - first.done) / (ended - began)
            parts.append(f"{rate:.3g} a second")
            if last.done < last.total:
                parts.append(f"{duration((last.total - last.done) / rate)} left")
        return Progress(100 * last.done / max(1, last.total), ", ".join(parts))


def _write(stage: str, pace: Pace, ended: Flag) -> None:
    artifact: UUID | None = None
    written: Progress | None = None
    over = False
    while not over:
        over = ended.wait(_EVERY_SECONDS)
        progress = pace.now()
        if progress is None or progress == written or (over and artifact is None):
            continue
        try:
            if artifact is None:
                artifact = cast(UUID, create_progress_artifact(progress.percent, description=progress.text))
            else:
                update_progress_artifact(artifact, progress.percent, progress.text)
            written = progress
        except Exception as error:  # noqa: BLE001 - whatever a server answers, or none: the stage must not suffer
            _LOG.debug("the progress of %s was not written: %s", stage, error)
