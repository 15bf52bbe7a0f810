"""The paper's objective by quasi-Newton steps on a sample of the negative traces, all lambdas side by side.

A third of the sample is held out, to tell by the thresholded S when a search has got what there is; in the end the
whole sample has a say.
Shape suffixes: M member of the ensemble, C lambda (one search each), N sample, L MoE layer, E expert.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import softplus

from mascing.circuits.folded_surrogate import FoldedSurrogate, Statistics, statistics_of
from mascing.circuits.orthant_descent import OrthantDescent
from mascing.surrogate import Surrogate
from mascing.traces import Traces, TraceSet, random_sample
from schemas.methods import MascingConfig

SAMPLES, TOKENS = 96, 6144
"""The sample is as small as this allows, both counted; for it, all negative traces are read once."""
EVALUATIONS = 24
CHECK_EVERY = 6
WORTH = 1e-4, 0.01
"""A held-out objective that falls by less, absolute and as a share, is no reason to make S any larger."""
PATIENCE = 2
REFINEMENTS = 8
"""Evaluations on the whole sample in the end, from where the held-out part was best."""


def fast_search(
    members: Sequence[Surrogate],
    negatives: Traces,
    sigma: Tensor,
    config: MascingConfig,
    seed: int,
    report: Callable[[int, int], None],
) -> Tensor:
    """S of all lambdas, thresholded, float32 [C, L, E] in units of sigma.

    Minimises what `exact_search` minimises, from S = 0. ``report(done, total)`` counts evaluations of the objective
    with its gradient.
    """
    sample = random_sample(negatives, SAMPLES, TOKENS, torch.Generator().manual_seed(seed))
    fit, held_out = (statistics_of(part) for part in _parts(sample))
    fitted, judged, whole = (_Objective(members, part, sigma) for part in (fit, held_out, fit + held_out))
    shape, total = sample.z.shape[1:], EVALUATIONS + REFINEMENTS
    searches = [_Search(weight, shape, min(config.thresholds)) for weight in config.lambdas]
    for evaluation in range(1, EVALUATIONS + 1):
        running = [search for search in searches if search.patience > 0]
        if running:
            _step(running, fitted)
        if running and evaluation % CHECK_EVERY == 0:
            _check(running, judged)
        report(evaluation, total)
    for search in searches:
        search.refine()
    _check(searches, whole)
    for evaluation in range(1, REFINEMENTS + 1):
        _step(searches, whole)
        report(EVALUATIONS + evaluation, total)
    _check(searches, whole)
    return torch.stack([search.best_LE for search in searches])


def _step(searches: Sequence["_Search"], objective: "_Objective") -> None:
    losses_C, gradients_CLE = objective.with_gradient(torch.stack([search.trial_LE for search in searches]))
    for search, loss, gradient_LE in zip(searches, losses_C.tolist(), gradients_CLE, strict=True):
        search.descent.tell(loss, gradient_LE.flatten())


def _check(searches: Sequence["_Search"], objective: "_Objective") -> None:
    points_CLE = torch.stack([search.point_LE for search in searches])
    for search, point_LE, loss in zip(searches, points_CLE, objective(points_CLE).tolist(), strict=True):
        search.check(point_LE, loss)


class _Search:
    """The descent of one lambda, and the best of its thresholded points by the objective at the checks."""

    def __init__(self, weight: float, shape: torch.Size, threshold: float) -> None:
        self.descent = OrthantDescent(torch.zeros(shape.numel()), weight)
        self.best_LE, self.patience = torch.zeros(shape), PATIENCE
        self._objective, self._weight, self._threshold = float("inf"), weight, threshold

    @property
    def trial_LE(self) -> Tensor:
        return self.descent.trial.view(self.best_LE.shape)

    @property
    def point_LE(self) -> Tensor:
        point_LE = self.descent.point.view(self.best_LE.shape)
        return torch.where(point_LE.abs() > self._threshold, point_LE, 0.0)

    def check(self, point_LE: Tensor, loss: float) -> None:
        objective = loss + self._weight * float(point_LE.abs().sum())
        if objective < self._objective - max(WORTH[0], WORTH[1] * objective):
            self.best_LE, self._objective, self.patience = point_LE, objective, PATIENCE
        else:
            self.patience -= 1

    def refine(self) -> None:
        """Go on from the best point. Without the many entries that are too small to count, the rest moves freely."""
        self.descent.restart(self.best_LE.flatten())
        self._objective = float("inf")


class _Objective:
    """Mean BCE towards the positive class over samples and members, as a function of S."""

    def __init__(self, members: Sequence[Surrogate], statistics: Sequence[Statistics], sigma: Tensor) -> None:
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
        assert S_CLE.grad is not None
        return torch.stack(losses_MC).sum(dim=0), S_CLE.grad

    def _of(self, member: FoldedSurrogate, S_CLE: Tensor) -> Tensor:
        return softplus(-member.logits(self._sigma_L1 * S_CLE)).mean(dim=1)


def _parts(sample: TraceSet) -> tuple[TraceSet, TraceSet]:
    """Two thirds to fit and one to judge by; of a single trace both."""
    cut = -(-2 * len(sample) // 3)
    order = list(range(len(sample)))
    return sample.subset(order[:cut]), sample.subset(order[cut:] or order)
