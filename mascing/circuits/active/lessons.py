"""What trials teach: surrogates fitted to verdicts under masks, and the search for a mask through them.

Shape suffixes: M member of the ensemble, N sample, T token, L MoE layer, E expert.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.nn.utils.rnn import pad_sequence

from mascing.circuits.active.trials import Trial
from mascing.routers.spec import RouterSpec
from mascing.surrogates.surrogate import BATCH, LEARNING_RATE, Surrogate
from mascing.traces.trace_set import Traces

SEARCH_RATE = 0.05
THRESHOLD = 0.1
"""Adam's rate and the size up to which entries of S become 0: both as in the paper's search."""

T = TypeVar("T")


@dataclass(frozen=True)
class Lesson:
    """Raw router logits float16 [T, L, E], the bias [L, E] that they were selected under, and what came of it."""

    z_TLE: Tensor
    bias_LE: Tensor
    hit: bool
    wanted: bool
    """Whether a mask must bring (or keep) a hit here; of unsteered traces those that are no hit by themselves."""

    @classmethod
    def of(cls, trial: Trial, bias_LE: Tensor) -> "Lesson":
        """What a trial under the additive mask of ``bias_LE`` teaches."""
        # An unscored reply is no hit: a mask whose replies cannot be read must not look good.
        return cls(trial.z_TLE, bias_LE, trial.outcome == "hit", wanted=True)


def unsteered(traces: Traces, spec: RouterSpec) -> list[Lesson]:
    """Labelled traces as lessons: no bias, and what the model does by itself."""
    nothing_LE = torch.zeros(spec.n_layers, spec.n_experts)
    return [
        Lesson(part.z[start:end], nothing_LE, label == 1, wanted=label == 0)
        for part in traces.parts()
        for start, end, label in zip(
            part.offsets[:-1].tolist(), part.offsets[1:].tolist(), part.labels.tolist(), strict=True
        )
    ]


def learn(members: Sequence[Surrogate], lessons: Sequence[Lesson], steps: int, generator: torch.Generator) -> None:
    """Go on fitting each member, on lessons drawn with replacement, to what came of logits with their bias added."""
    for member in members:
        member.requires_grad_(True).train()
        optimizer = torch.optim.Adam(member.parameters(), lr=LEARNING_RATE)
        for _ in range(steps):
            batch = some(lessons, BATCH, generator)
            z_NTLE, mask_NT = _padded(batch)
            bias_NLE = torch.stack([lesson.bias_LE for lesson in batch])
            logits_N = member(z_NTLE + bias_NLE[:, None], mask_NT)
            hit_N = torch.tensor([float(lesson.hit) for lesson in batch])
            optimizer.zero_grad()
            binary_cross_entropy_with_logits(logits_N, hit_N).backward()
            optimizer.step()
        member.requires_grad_(False).eval()


def search(
    members: Sequence[Surrogate],
    lessons: Sequence[Lesson],
    sigma: Tensor,
    l1: float,
    steps: int,
    generator: torch.Generator,
    start_LE: Tensor,
) -> Tensor:
    """S [L, E] of root mean square 1 over its non-zero entries: the members expect a hit wherever one is wanted.

    Minimises ``mean BCE(f(z + sigma * S), hit) + l1 * |S|_1`` from ``start_LE``. The logits are those recorded under
    earlier proposals, without these: the deeper layers' are those that a mask of this kind brings about.
    """
    wanted = [lesson for lesson in lessons if lesson.wanted]
    S_LE = start_LE.clone().requires_grad_()
    optimizer = torch.optim.Adam([S_LE], lr=SEARCH_RATE)
    for _ in range(steps):
        z_NTLE, mask_NT = _padded(some(wanted, BATCH, generator))
        steered_NTLE = z_NTLE + sigma[:, None] * S_LE
        logits_MN = torch.stack([member(steered_NTLE, mask_NT) for member in members])
        optimizer.zero_grad()
        loss = binary_cross_entropy_with_logits(logits_MN, torch.ones_like(logits_MN))
        (loss + l1 * S_LE.abs().sum()).backward()
        optimizer.step()
    return unit(torch.where(S_LE.detach().abs() > THRESHOLD, S_LE.detach(), 0.0))


def noise(spec: RouterSpec, generator: torch.Generator) -> Tensor:
    """A start [L, E] for `search` where nothing is known yet."""
    return 0.01 * torch.randn(spec.n_layers, spec.n_experts, generator=generator)


def some(items: Sequence[T], n: int, generator: torch.Generator) -> list[T]:
    """``n`` items drawn with replacement."""
    return [items[index] for index in torch.randint(len(items), (n,), generator=generator).tolist()] if n else []


def unit(S_LE: Tensor) -> Tensor:
    """Scaled so that the non-zero entries have root mean square 1; all zeros stay so."""
    return S_LE * (S_LE.count_nonzero() / S_LE.square().sum().clamp(min=1e-12)).sqrt()


def _padded(lessons: Sequence[Lesson]) -> tuple[Tensor, Tensor]:
    """z_NTLE float32, zero after each one's end, and mask_NT, true on real tokens."""
    z_NTLE = pad_sequence([lesson.z_TLE for lesson in lessons], batch_first=True).float()
    counts = torch.tensor([len(lesson.z_TLE) for lesson in lessons])
    return z_NTLE, torch.arange(z_NTLE.shape[1]) < counts[:, None]
