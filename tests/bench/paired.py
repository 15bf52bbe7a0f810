"""Time two implementations in alternation in one process, so that a busy machine slows both equally."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Turn:
    """Seconds of one run of both implementations: wall-clock time and this process's CPU time."""

    reference_wall: float
    reference_cpu: float
    candidate_wall: float
    candidate_cpu: float


@dataclass(frozen=True)
class Paired:
    """All turns. A speed is the candidate's over the reference's: above 1 the candidate is faster."""

    turns: list[Turn]

    @property
    def wall(self) -> float:
        """Median speed by the wall clock."""
        return statistics.median(turn.reference_wall / turn.candidate_wall for turn in self.turns)

    @property
    def cpu(self) -> float:
        """Median speed by CPU time, which other processes disturb less; it is meaningless for work on a GPU."""
        return statistics.median(turn.reference_cpu / turn.candidate_cpu for turn in self.turns)

    def __str__(self) -> str:
        ratios = sorted(turn.reference_wall / turn.candidate_wall for turn in self.turns)
        spread = f"{len(ratios)} turns from {ratios[0]:.3f} to {ratios[-1]:.3f}"
        cpu = "" if torch.cuda.is_available() else f", {self.cpu:.3f}x CPU time"
        return f"{self.wall:.3f}x wall time ({spread}){cpu}"


def alternate(reference: Callable[[], object], candidate: Callable[[], object], turns: int) -> Paired:
    """Run both once unmeasured, then ``turns`` times; which one goes first changes every turn."""
    reference()
    candidate()
    taken = []
    for turn in range(turns):
        if turn % 2:
            second, first = _seconds(candidate), _seconds(reference)
        else:
            first, second = _seconds(reference), _seconds(candidate)
        taken.append(Turn(*first, *second))
    return Paired(taken)


def _seconds(way: Callable[[], object]) -> tuple[float, float]:
    _finish()
    wall, cpu = time.perf_counter(), time.process_time()
    way()
    _finish()
    return time.perf_counter() - wall, time.process_time() - cpu


def _finish() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
