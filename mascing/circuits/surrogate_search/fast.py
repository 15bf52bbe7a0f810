"""The paper's objective by quasi-Newton steps on samples of the negative traces, all lambdas side by side.

First on a few traces, of which a third is held out to tell by the thresholded S when a search has got what there is;
then, from there, on many.
Shape suffixes: M member of the ensemble, C lambda (one search each), N sample, L MoE layer, E expert.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import softplus

from mascing.circuits.surrogate_search.orthant_descent import OrthantDescent
from mascing.schemas.methods import MascingConfig
from mascing.surrogates.folded import FoldedSurrogate, statistics_of
from mascing.surrogates.surrogate import Surrogate
from mascing.traces.trace_set import Traces, TraceSet, random_sample

FEW, MANY = (48, 3072), (256, 16384)
"""Traces and tokens of the samples, which are as small as this allows, both counted."""
EVALUATIONS, REFINEMENTS = 48, 36
"""At most, on the few and on the many."""
CHECK_EVERY = 6
WORTH = 3e-4, 0.01
"""A judged objective that falls by less, absolute and as a share, is no reason to make S any larger."""
PATIENCE = 2
LAGGING = 0.8
"""A search goes on from another's point where its own objective there is less than this share of what it has got."""


def fast_search(
    members: Sequence[Surrogate], negatives: Traces, sigma: Tensor, config: MascingConfig, seed: int
) -> Tensor:
    """S of all lambdas, thresholded, float32 [C, L, E] in units of sigma.

    Minimises what `exact_search` minimises, from S = 0.
    """
    many = random_sample(negatives, *MANY, torch.Generator().manual_seed(seed))
    few = random_sample(many, *FEW, torch.Generator().manual_seed(seed))
    fit, held_out, whole = (_Objective(members, part, sigma) for part in (*_parts(few), many))
    searches = [_Search(weight, many.z.shape[1:], min(config.thresholds)) for weight in config.lambdas]
    _descend(searches, EVALUATIONS, fit, held_out)
    for search in searches:
        search.refine()
    _check(searches, whole)
    _descend(searches, REFINEMENTS, whole, whole)
    return torch.stack([search.best_LE for search in searches])


def _descend(searches: Sequence["_Search"], evaluations: int, objective: "_Objective", judged: "_Objective") -> None:
    """Evaluate ``objective``, at most so many times, for every search that still gains by ``judged``."""
    for evaluation in range(1, evaluations + 1):
        running = [search for search in searches if search.patience > 0]
        if not running:
            return
        _step(running, objective)
        if evaluation % CHECK_EVERY == 0:
            _check(running, judged)


def _step(searches: Sequence["_Search"], objective: "_Objective") -> None:
    losses_C, gradients_CLE = objective.with_gradient(torch.stack([search.trial_LE for search in searches]))
    for search, loss, gradient_LE in zip(searches, losses_C.tolist(), gradients_CLE, strict=True):
        search.descent.tell(loss, gradient_LE.flatten())


def _check(searches: Sequence["_Search"], objective: "_Objective") -> None:
    """Judge every search where it stands; one that lags goes on from where another stands."""
    points = [search.point_LE for search in searches]
    losses = objective(torch.stack(points)).tolist()
    for own, search in enumerate(searches):
        values = [search.objective(point_LE, loss) for point_LE, loss in zip(points, losses, strict=True)]
        best = min(range(len(values)), key=values.__getitem__)
        if values[best] < LAGGING * values[own]:
            search.descent.restart(points[best].flatten())
            own = best
        search.check(points[own], values[own])


class _Search:
    """The descent of one lambda, and the best of its thresholded points by the objective at the checks."""

    def __init__(self, weight: float, shape: torch.Size, threshold: float) -> None:
        self.descent = OrthantDescent(torch.zeros(shape.numel()), weight)
        self.best_LE, self.patience = torch.zeros(shape), PATIENCE
        self._least, self._weight, self._threshold = float("inf"), weight, threshold

    @property
    def trial_LE(self) -> Tensor:
        return self.descent.trial.view(self.best_LE.shape)

    @property
    def point_LE(self) -> Tensor:
        point_LE = self.descent.point.view(self.best_LE.shape)
        return torch.where(point_LE.abs() > self._threshold, point_LE, 0.0)

    def objective(self, point_LE: Tensor, loss: float) -> float:
        return loss + self._weight * float(point_LE.abs().sum())

    def check(self, point_LE: Tensor, value: float) -> None:
        """Keep ``point_LE`` if its objective is worth it; otherwise patience runs out."""
        if value < self._least - max(WORTH[0], WORTH[1] * value):
            self.best_LE, self._least, self.patience = point_LE, value, PATIENCE
        else:
            self.patience -= 1

    def refine(self) -> None:
        """Go on from the best point. Without the many entries that are too small to count, the rest moves freely."""
        self.descent.restart(self.best_LE.flatten())
        self._least = float("inf")


class _Objective:
    """Mean BCE towards the positive class over samples and members, as a function of S."""

    def __init__(self, members: Sequence[Surrogate], traces: TraceSet, sigma: Tensor) -> None:
        statistics = statistics_of(traces)
        self._members = [FoldedSurrogate(member, statistics) for member in members]
        self._sigma_L1 = sigma[:, None]

    def __call__(self, S_CLE: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.stack([self._of(member, S_CLE) for member in self._members]).mean(dim=0)

    def with_gradient(self, S_CLE: Tensor) -> tuple[Tensor, Tensor]:
        """The objective [C] and its gradient [C, L, E]."""
        S_CLE = S_CLE.clone().requires_grad_()
        losses_MC = []
        for member in self._members:  # one after the other, so that one graph is in memory
            loss_C = self._of(member, S_CLE) / len(self._members)
            torch.autograd.backward(loss_C.sum())
            losses_MC.append(loss_C.detach())
        assert S_CLE.grad is not None  # torch types it as optional; there is at least one member
        return torch.stack(losses_MC).sum(dim=0), S_CLE.grad

    def _of(self, member: FoldedSurrogate, S_CLE: Tensor) -> Tensor:
        return softplus(-member.logits(self._sigma_L1 * S_CLE)).mean(dim=1)


def _parts(sample: TraceSet) -> tuple[TraceSet, TraceSet]:
    """Two thirds to fit and one to judge by; of a single trace both."""
    cut = -(-2 * len(sample) // 3)
    order = list(range(len(sample)))
    return sample.subset(order[:cut]), sample.subset(order[cut:] or order)
