"""Rank methods over the tasks of a campaign, a task being a model with a behaviour, with intervals.

The claim is about these tasks: what is resampled in each is its groups of conversations, together for all methods, and
the seeds of each method. One fewer of both is drawn than there are, so that the variance of a mean comes out unbiased
even for two seeds (Rao and Wu, 1988). Stratified bootstrap intervals over tasks with few runs each, beside mean ranks:
Agarwal et al. (2021), Demsar (2006).

A bootstrap has no width where all groups have the same outcome, and no more than the bootstrap of one cell would agree
with the interval that this cell has. So the interval of a mean uplift begins with the clustered paired score intervals
of its cells (mascing.statistics.paired_difference): their bounds are averaged over the seeds of a task, which answer
the same conversations, and combined over tasks by their distances from the value (MOVER, Zou and Donner 2008). One cell
has its own interval. With several seeds it reaches as far as the bootstrap does, which sees how seeds scatter.
Shape suffixes: R bootstrap sample, M method, S seed, G group.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from mascing.schemas.campaign import GroupHits
from mascing.schemas.result import Rate

SAMPLES = 2000
_BOUNDS = (2.5, 97.5)

Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Measured:
    """What a method showed with one seed of a task: its uplift with the interval, and its conversations by group."""

    uplift: Rate
    groups: Sequence[GroupHits]


Task = Mapping[str, Sequence[Measured]]
"""Each seed, by method."""


@dataclass(frozen=True)
class Estimate:
    """A mean over tasks with its 95% interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Ranked:
    """A method: its mean rank over the tasks (1 is the best), its mean uplift, and how often it has the highest."""

    method: str
    rank: Estimate
    uplift: Estimate
    best: float
    tasks: int


def ranked(tasks: Sequence[Task], samples: int = SAMPLES) -> list[Ranked]:
    """The methods, the best mean rank first.

    Only tasks count that all methods have finished. Empty if there is none, or only one method. Equal tasks give equal
    numbers.
    """
    methods = sorted({method for task in tasks for method in task})
    complete = [task for task in tasks if all(task.get(method) for method in methods)]
    if not complete or len(methods) < 2:
        return []
    rng = np.random.default_rng(0)
    measured = [_uplift(task, methods) for task in complete]
    drawn = [_drawn(task, methods, samples, rng) for task in complete]
    uplift_M, uplift_RM = np.mean(measured, axis=0), np.mean(drawn, axis=0)
    rank_M = np.mean([_ranks(each[None])[0] for each in measured], axis=0)
    rank_RM = np.mean([_ranks(each) for each in drawn], axis=0)
    first_RM = uplift_RM == uplift_RM.max(1, keepdims=True)
    best_M = (first_RM / first_RM.sum(1, keepdims=True)).mean(0)
    found = [
        Ranked(
            method,
            _estimate(rank_M[number], rank_RM[:, number]),
            _mean_uplift(uplift_M[number], uplift_RM[:, number], [task[method] for task in complete]),
            float(best_M[number]),
            len(complete),
        )
        for number, method in enumerate(methods)
    ]
    return sorted(found, key=lambda each: (each.rank.value, -each.uplift.value, each.method))


def _uplift(task: Task, methods: Sequence[str]) -> Floats:
    """The measured uplift of each method, the mean over its seeds, [M]."""
    ones_G = np.ones(len(task[methods[0]][0].groups))
    return np.array([_of_seeds(task[method], ones_G[None]).mean() for method in methods])


def _drawn(task: Task, methods: Sequence[str], samples: int, rng: np.random.Generator) -> Floats:
    """The same of bootstrap samples, [R, M]."""
    n_groups = len(task[methods[0]][0].groups)
    weights_RG = rng.multinomial(max(1, n_groups - 1), np.full(n_groups, 1 / n_groups), size=samples).astype(float)
    columns = []
    for method in methods:
        uplift_RS = _of_seeds(task[method], weights_RG)
        n_seeds = uplift_RS.shape[1]
        seeds_RD = rng.integers(n_seeds, size=(samples, max(1, n_seeds - 1)))
        columns.append(np.take_along_axis(uplift_RS, seeds_RD, axis=1).mean(1))
    return np.stack(columns, axis=1)


def _of_seeds(seeds: Sequence[Measured], weights_RG: Floats) -> Floats:
    """The uplift of each seed with these weights of the groups, [R, S]."""
    gained_SG = np.array([[group.after - group.before for group in seed.groups] for seed in seeds], dtype=float)
    size_G = np.array([group.conversations for group in seeds[0].groups], dtype=float)
    uplift_RS: Floats = weights_RG @ gained_SG.T / (weights_RG @ size_G)[:, None]
    return uplift_RS


def _ranks(uplift_RM: Floats) -> Floats:
    """The rank of each method, 1 for the highest uplift; equal ones share the mean of their ranks, [R, M]."""
    ranks_RM: Floats = rankdata(-uplift_RM, axis=1)
    return ranks_RM


def _estimate(value: float, drawn_R: Floats) -> Estimate:
    low, high = np.percentile(drawn_R, _BOUNDS)
    return Estimate(float(value), min(float(low), float(value)), max(float(high), float(value)))


def _mean_uplift(value: float, drawn_R: Floats, tasks: Sequence[Sequence[Measured]]) -> Estimate:
    """A mean uplift with the interval of its cells, and of the bootstrap where there are several seeds."""
    below, above = (_combined([[side(seed.uplift) for seed in seeds] for seeds in tasks]) for side in (_below, _above))
    low, high = value - below, value + above
    if any(len(seeds) > 1 for seeds in tasks):
        drawn = _estimate(value, drawn_R)
        low, high = min(low, drawn.low), max(high, drawn.high)
    return Estimate(float(value), max(low, -1.0), min(high, 1.0))


def _combined(distances: Sequence[Sequence[float]]) -> float:
    """How far a bound of the mean over tasks is from it, given that of each seed of each task."""
    of_task = [np.mean(seeds) for seeds in distances]
    return float(np.linalg.norm(of_task) / len(of_task))


def _below(uplift: Rate) -> float:
    return uplift.value - uplift.low


def _above(uplift: Rate) -> float:
    return uplift.high - uplift.value
