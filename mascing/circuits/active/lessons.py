"""Lessons of trials and of unsteered traces, on the local disk, so that memory does not grow with their number.

Shape suffixes: N sample, T token, L MoE layer, E expert.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import heappush, heappushpop
from math import prod
from typing import IO

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from mascing.circuits.active.trials import Trial
from mascing.routers.spec import RouterSpec
from mascing.traces.trace_set import Traces


@dataclass(frozen=True)
class Lesson:
    """The outcome under a bias [L, E] that was added for selection, and where its logits lie."""

    bias_LE: Tensor
    hit: bool
    wanted: bool
    """Whether a mask must produce or keep a hit here. Among unsteered traces, this holds for those without a hit."""
    start: int
    tokens: int


@dataclass(frozen=True)
class Batch:
    """Lessons side by side: raw logits float32 [N, T, L, E], zero after each one's end, and which tokens are real.

    ``bias_NLE`` was added to the logits for selection, and ``hit_N`` is 1 where the reply was a hit, else 0.
    """

    z_NTLE: Tensor
    mask_NT: Tensor
    bias_NLE: Tensor
    hit_N: Tensor


class Lessons:
    """All lessons so far; their float16 logits lie in ``file``, one after the other."""

    def __init__(self, spec: RouterSpec, file: IO[bytes]) -> None:
        self._spec, self._file = spec, file
        self._lessons: list[Lesson] = []

    def add_unsteered(self, traces: Traces, at_most: int, generator: torch.Generator) -> None:
        """Add labelled traces as lessons without bias, whose outcome is the model's own behaviour.

        Of more than ``at_most`` traces, as many are drawn at random. They are read in parts, once.
        """
        no_bias_LE = torch.zeros(self._spec.n_layers, self._spec.n_experts)
        kept: list[tuple[float, int, Lesson]] = []  # a heap of the traces with the smallest random keys
        for key, z_TLE, label in _keyed(traces, generator):
            full = len(kept) >= at_most
            if full and key >= -kept[0][0]:
                continue
            lesson = Lesson(no_bias_LE, label == 1, label == 0, *self._write(z_TLE))
            (heappushpop if full else heappush)(kept, (-key, lesson.start, lesson))
        self._lessons += [lesson for _, _, lesson in sorted(kept, key=lambda entry: entry[1])]

    def of(self, trial: Trial, bias_LE: Tensor) -> Lesson:
        """Write down a trial under the additive mask of ``bias_LE``; nothing is drawn from it before it is added."""
        # An unscored reply is not a hit: a mask whose replies cannot be read must not look good.
        return Lesson(bias_LE, trial.outcome == "hit", True, *self._write(trial.z_TLE))

    def add(self, lessons: Sequence[Lesson]) -> None:
        """Add lessons, in an order that decides which of them later draws give."""
        self._lessons += lessons

    def drawn(self, n: int, generator: torch.Generator, device: torch.device, *, wanted: bool = False) -> Batch:
        """Draw ``n`` lessons with replacement; with ``wanted``, only among those in which a mask must bring a hit."""
        lessons = [lesson for lesson in self._lessons if lesson.wanted] if wanted else self._lessons
        chosen = [lessons[index] for index in torch.randint(len(lessons), (n,), generator=generator).tolist()]
        z_NTLE = pad_sequence([self._read(lesson) for lesson in chosen], batch_first=True)
        counts = torch.tensor([lesson.tokens for lesson in chosen])
        return Batch(
            z_NTLE.to(device).float(),
            (torch.arange(z_NTLE.shape[1]) < counts[:, None]).to(device),
            torch.stack([lesson.bias_LE for lesson in chosen]).to(device),
            torch.tensor([float(lesson.hit) for lesson in chosen], device=device),
        )

    def _write(self, z_TLE: Tensor) -> tuple[int, int]:
        """Append the logits; returns where they start in the file, and the number of tokens."""
        start = self._file.seek(0, 2)
        self._file.write(z_TLE.half().contiguous().numpy().tobytes())
        return start, len(z_TLE)

    def _read(self, lesson: Lesson) -> Tensor:
        shape = (lesson.tokens, self._spec.n_layers, self._spec.n_experts)
        self._file.seek(lesson.start)
        data = bytearray(self._file.read(prod(shape) * torch.float16.itemsize))
        return torch.frombuffer(data, dtype=torch.float16).view(shape)


def _keyed(traces: Traces, generator: torch.Generator) -> Iterator[tuple[float, Tensor, int]]:
    """Every trace with a random key: the key, the logits and the label."""
    for part in traces.parts():
        keys = torch.rand(len(part), dtype=torch.float64, generator=generator).tolist()
        logits: Sequence[Tensor] = part.z.split(part.offsets.diff().tolist())
        yield from zip(keys, logits, part.labels.tolist(), strict=True)
