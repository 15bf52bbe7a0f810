"""Minimise the paper's objective by quasi-Newton steps on samples of the negative traces, all lambdas side by side.

The searches start on a few traces. A third of these is held out: the thresholded S is evaluated there to decide when a
search has converged. The searches then continue on many traces.
Shape suffixes: M member of the ensemble, C lambda (one search each), N sample, L MoE layer, E expert.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import softplus

from mascing.circuits.surrogate_search.orthant_descent import OrthantDescent
from mascing.schemas.settings.method_settings import MascingConfig
from mascing.surrogates.folded import FoldedSurrogate, statistics_of
from mascing.surrogates.surrogate import Surrogate
from mascing.traces.trace_set import Traces, TraceSet, random_sample

FEW, MANY = (48, 3072), (256, 16384)
"""Traces and tokens that the two samples need at least; each sample is as small as both allow."""
EVALUATIONS, REFINEMENTS = 48, 36
"""Most evaluations on the few and on the many traces."""
CHECK_EVERY = 6
WORTH = 3e-4, 0.01
"""Least absolute and relative fall of the judged objective that justifies a larger S."""
PATIENCE = 2
LAGGING = 0.8
"""A search moves to another's point if its own objective there is below this share of its current value."""


def fast_search(
    members: Sequence[Surrogate], negatives: Traces, sigma: Tensor, config: MascingConfig, seed: int
) -> Tensor:
    """Return the thresholded S of all lambdas, float32 [C, L, E] in units of sigma.

    Minimises the objective of `exact_search`, from S = 0.
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
    """Evaluate ``objective`` up to ``evaluations`` times for every search that still improves on ``judged``."""
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
        search.descent.update(loss, gradient_LE.flatten())


def _check(searches: Sequence["_Search"], objective: "_Objective") -> None:
    """Judge every search at its current point; a lagging search moves to the best point of the others."""
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
    """The descent of one lambda, and its thresholded point with the best objective at the checks."""

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
        """Keep ``point_LE`` if its objective improves enough; otherwise reduce patience."""
        if value < self._least - max(WORTH[0], WORTH[1] * value):
            self.best_LE, self._least, self.patience = point_LE, value, PATIENCE
        else:
            self.patience -= 1

    def refine(self) -> None:
        """Restart from the best point. Without the many tiny entries, the others move freely."""
        self.descent.restart(self.best_LE.flatten())
        self._least = float("inf")


class _Objective:
    """Mean BCE towards the positive class over samples and members, as a function of S; computed where they are."""

    def __init__(self, members: Sequence[Surrogate], traces: TraceSet, sigma: Tensor) -> None:
        self._device = members[0].device
        statistics = statistics_of(traces.on(self._device))
        self._members = [FoldedSurrogate(member, statistics) for member in members]
        self._sigma_L1 = sigma[:, None].to(self._device)

    def __call__(self, S_CLE: Tensor) -> Tensor:
        with torch.no_grad():
            S_CLE = S_CLE.to(self._device)
            return torch.stack([self._of(member, S_CLE) for member in self._members]).mean(dim=0).cpu()

    def with_gradient(self, S_CLE: Tensor) -> tuple[Tensor, Tensor]:
        """Return the objective [C] and its gradient [C, L, E]."""
        S_CLE = S_CLE.to(self._device, copy=True).requires_grad_()
        losses_MC = []
        for member in self._members:  # one at a time, so that only one graph is in memory
            loss_C = self._of(member, S_CLE) / len(self._members)
            torch.autograd.backward(loss_C.sum())
            losses_MC.append(loss_C.detach())
        assert S_CLE.grad is not None  # torch types it as optional; there is at least one member
        return torch.stack(losses_MC).sum(dim=0).cpu(), S_CLE.grad.cpu()

    def _of(self, member: FoldedSurrogate, S_CLE: Tensor) -> Tensor:
        return softplus(-member.logits(self._sigma_L1 * S_CLE)).mean(dim=1)


def _parts(sample: TraceSet) -> tuple[TraceSet, TraceSet]:
    """Split two thirds to fit from one third to judge; a single trace serves as both."""
    cut = -(-2 * len(sample) // 3)
    order = list(range(len(sample)))
    return sample.subset(order[:cut]), sample.subset(order[cut:] or order)
