"""How it is known that a worker is stuck: it answers nothing, takes too long for its item, or does not work at all.

A stuck worker is ended, and another one takes its place.
"""

from collections import deque
from contextlib import suppress
from statistics import median

import ray
import ray.exceptions

from mascing.progress import Event, tell
from mascing.tasks.workers.room import placed
from mascing.tasks.workers.seats import Seat

_PULSE_SECONDS = 5.0
_SILENT_SECONDS = 45.0
# A process that starts imports torch and loads a model, from a slow disk perhaps.
_START_SECONDS = 90.0
# Work on a GPU takes CPU time as well: every kernel is launched.
_IDLE_SECONDS = 600.0

# An item may take this many times as long, for its size, as the median of those that are finished.
_SLOWER = 10
_RECENT = 256
# No item is given up sooner than this, and none later than that while nothing is known of the others.
_SHORTEST_SECONDS = 600.0
_LONGEST_SECONDS = 3600.0


class Pace:
    """How long the items take for their size, and thus how long one may take."""

    def __init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=_RECENT)

    def add(self, seconds: float, size: int) -> None:
        """Count an item that is finished."""
        self._recent.append(seconds / size)

    def deadline(self, size: int) -> float:
        """The seconds that an item may take."""
        if not self._recent:
            return _LONGEST_SECONDS
        return max(_SHORTEST_SECONDS, _SLOWER * median(self._recent) * size)


def slow(seat: Seat, now: float, limit: float) -> str | None:
    """Why a worker counts as stuck: it has worked on one item for longer than ``limit`` seconds."""
    _, task = seat.tasks[0]
    if now - task.begun <= limit:
        return None
    task.begun = now
    return f"a worker has worked for {limit:.0f} s on a piece of work that should take less"


def idle(seat: Seat, now: float) -> str | None:
    """Why a worker counts as stuck: it answers, but its item of unknown length takes no CPU time."""
    _, task = seat.tasks[0]
    if now - max(seat.moved, task.begun) <= _IDLE_SECONDS:
        return None
    seat.moved = now
    return f"a worker has not worked for {_IDLE_SECONDS:.0f} s on what it has to do"


def silent(seat: Seat, now: float) -> str | None:
    """Why a worker counts as stuck: its process is there, and has not answered for long."""
    if seat.pulse is None:
        if now - seat.asked > _PULSE_SECONDS:
            seat.pulse, seat.asked = seat.actor.pulse.remote(), now
        return None
    answered, _ = ray.wait([seat.pulse], timeout=0)
    if answered:
        _listen(seat, now)
        return None
    quiet = now - seat.asked
    if quiet <= (_SILENT_SECONDS if seat.ready else _START_SECONDS):
        return None
    seat.asked = now
    return f"a worker has not answered for {quiet:.0f} s"


def unstarted(seat: Seat, now: float) -> str | None:
    """Why a worker that is not ready counts as stuck: it was placed long ago, and does not answer.

    Before it is placed it waits for room, as long as it takes.
    """
    reason = silent(seat, now)
    if reason is None or seat.heard:
        return reason
    before, seat.placed = seat.placed, placed(seat.actor)
    return reason if before else None


def give_up(seat: Seat, reason: str) -> None:
    """End a worker that is stuck, so that its calls fail and whoever waits for them replaces it."""
    tell(Event("ray", "note", text=f"{reason}: it is ended, and another worker takes its work"))
    seat.given_up = True
    ray.kill(seat.actor)


def _listen(seat: Seat, now: float) -> None:
    with suppress(ray.exceptions.RayError):  # the call that it works on tells that it has ended
        cpu = ray.get(seat.pulse)
        seat.heard = True
        if cpu != seat.cpu:
            seat.cpu, seat.moved = cpu, now
    seat.pulse = None
