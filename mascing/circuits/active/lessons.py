"""Learn from trials: fit surrogates to verdicts under masks, and search for a mask through them.

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
"""Adam's learning rate, and the size up to which entries of S become 0, both as in the paper's search."""

T = TypeVar("T")


@dataclass(frozen=True)
class Lesson:
    """Raw router logits float16 [T, L, E], the bias [L, E] added for selection, and the outcome."""

    z_TLE: Tensor
    bias_LE: Tensor
    hit: bool
    wanted: bool
    """Whether a mask must produce or keep a hit here. Among unsteered traces, this holds for those without a hit."""

    @classmethod
    def of(cls, trial: Trial, bias_LE: Tensor) -> "Lesson":
        """Make the lesson of a trial under the additive mask of ``bias_LE``."""
        # An unscored reply is not a hit: a mask whose replies cannot be read must not look good.
        return cls(trial.z_TLE, bias_LE, trial.outcome == "hit", wanted=True)


def unsteered(traces: Traces, spec: RouterSpec) -> list[Lesson]:
    """Turn labelled traces into lessons without bias, whose outcome is the model's own behaviour."""
    no_bias_LE = torch.zeros(spec.n_layers, spec.n_experts)
    return [
        Lesson(part.z[start:end], no_bias_LE, label == 1, wanted=label == 0)
        for part in traces.parts()
        for start, end, label in zip(
            part.offsets[:-1].tolist(), part.offsets[1:].tolist(), part.labels.tolist(), strict=True
        )
    ]


def learn(members: Sequence[Surrogate], lessons: Sequence[Lesson], steps: int, generator: torch.Generator) -> None:
    """Train each member further to predict outcomes from biased logits, on lessons drawn with replacement."""
    for member in members:
        member.requires_grad_(True).train()
        optimizer = torch.optim.Adam(member.parameters(), lr=LEARNING_RATE)
        for _ in range(steps):
            batch = sample(lessons, BATCH, generator)
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
    """Search for S [L, E] with which the members predict a hit in every lesson that wants one.

    The non-zero entries of S have root mean square 1. Minimises ``mean BCE(f(z + sigma * S), hit) + l1 * |S|_1`` from
    ``start_LE``. The logits z were recorded under earlier proposals but do not include their bias, so in deeper layers
    they already show the effect of such masks.
    """
    wanted = [lesson for lesson in lessons if lesson.wanted]
    S_LE = start_LE.clone().requires_grad_()
    optimizer = torch.optim.Adam([S_LE], lr=SEARCH_RATE)
    for _ in range(steps):
        z_NTLE, mask_NT = _padded(sample(wanted, BATCH, generator))
        steered_NTLE = z_NTLE + sigma[:, None] * S_LE
        logits_MN = torch.stack([member(steered_NTLE, mask_NT) for member in members])
        optimizer.zero_grad()
        loss = binary_cross_entropy_with_logits(logits_MN, torch.ones_like(logits_MN))
        (loss + l1 * S_LE.abs().sum()).backward()
        optimizer.step()
    return unit(torch.where(S_LE.detach().abs() > THRESHOLD, S_LE.detach(), 0.0))


def noise(spec: RouterSpec, generator: torch.Generator) -> Tensor:
    """Return a random start [L, E] for `search` while nothing is known yet."""
    return 0.01 * torch.randn(spec.n_layers, spec.n_experts, generator=generator)


def sample(items: Sequence[T], n: int, generator: torch.Generator) -> list[T]:
    """Draw ``n`` items with replacement."""
    return [items[index] for index in torch.randint(len(items), (n,), generator=generator).tolist()] if n else []


def unit(S_LE: Tensor) -> Tensor:
    """Scale S so that its non-zero entries have root mean square 1; an all-zero S stays zero."""
    return S_LE * (S_LE.count_nonzero() / S_LE.square().sum().clamp(min=1e-12)).sqrt()


def _padded(lessons: Sequence[Lesson]) -> tuple[Tensor, Tensor]:
    """Return z_NTLE float32, zero after the end of each lesson, and mask_NT, true on real tokens."""
    z_NTLE = pad_sequence([lesson.z_TLE for lesson in lessons], batch_first=True).float()
    counts = torch.tensor([len(lesson.z_TLE) for lesson in lessons])
    return z_NTLE, torch.arange(z_NTLE.shape[1]) < counts[:, None]
