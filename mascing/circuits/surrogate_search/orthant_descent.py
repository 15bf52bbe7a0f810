"""Quasi-Newton descent for a smooth loss plus lambda * |x|_1, one evaluation at a time.

Source: Andrew and Gao, Scalable Training of L1-Regularized Log-Linear Models (OWL-QN), ICML 2007. Without lambda it is
L-BFGS. Many descents can share their evaluations: each offers a ``trial`` point and takes the loss there by ``update``.
"""

import torch
from torch import Tensor

MEMORY = 4
SUFFICIENT = 1e-4
BACKTRACK = 0.3
FIRST_STEP = 2.0
"""Length of the first step, along the slope; LARGEST_CHANGE may shorten it."""
LARGEST_CHANGE = 1.0


class OrthantDescent:
    """The state of one descent from ``start`` [n].

    ``point`` is the best point so far; ``trial`` is the next point to evaluate. No entry changes by more than
    LARGEST_CHANGE in a step. An entry that would change its sign within a step becomes 0.
    """

    def __init__(self, start: Tensor, weight: float) -> None:
        self._weight = weight
        self.restart(start)

    def restart(self, start: Tensor) -> None:
        """Forget all steps and continue from ``start``."""
        self.point = self.trial = start
        self._loss = float("inf")
        self._pairs: list[tuple[Tensor, Tensor]] = []

    def update(self, smooth: float, gradient: Tensor) -> None:
        """Take the smooth loss and its gradient at ``trial``, then move there or try a shorter step."""
        loss = smooth + self._weight * float(self.trial.abs().sum())
        if self._loss == float("inf"):
            self._accept(loss, gradient)
        elif loss <= self._loss + SUFFICIENT * float(self._slope @ (self.trial - self.point)):
            self._remember(self.trial - self.point, gradient - self._gradient)
            self._accept(loss, gradient)
        else:
            self._step *= BACKTRACK
        self._propose()

    def _accept(self, loss: float, gradient: Tensor) -> None:
        self.point, self._loss, self._gradient = self.trial, loss, gradient
        self._slope = self._pseudo_gradient()
        direction = -self._inverse_hessian_times(self._slope)
        self._direction = torch.where(direction * self._slope < 0, direction, 0.0) if self._weight else direction
        if float(self._direction @ self._slope) >= 0:
            self._pairs, self._direction = [], -self._slope
        length = 1.0 if self._pairs else FIRST_STEP / max(float(self._slope.norm()), 1e-12)
        largest = length * float(self._direction.abs().max())
        self._step = length * min(1.0, LARGEST_CHANGE / max(largest, 1e-12))

    def _propose(self) -> None:
        moved = self.point + self._step * self._direction
        if self._weight:
            orthant = torch.where(self.point != 0, self.point, -self._slope)
            moved = torch.where(moved * orthant > 0, moved, 0.0)
        self.trial = moved

    def _pseudo_gradient(self) -> Tensor:
        """Return the steepest one-sided slope; 0 where an entry should stay 0."""
        weight, x, gradient = self._weight, self.point, self._gradient
        at_zero = gradient.sign() * (gradient.abs() - weight).clamp(min=0)
        return torch.where(x == 0, at_zero, gradient + weight * x.sign())

    def _remember(self, step: Tensor, change: Tensor) -> None:
        if float(step @ change) > 1e-10 * float(change @ change):
            self._pairs = [*self._pairs, (step, change)][-MEMORY:]

    def _inverse_hessian_times(self, vector: Tensor) -> Tensor:
        """Apply the two-loop recursion of L-BFGS."""
        product, weights = vector.clone(), []
        for step, change in reversed(self._pairs):
            weights.append(float(step @ product) / float(step @ change))
            product -= weights[-1] * change
        if self._pairs:
            step, change = self._pairs[-1]
            product *= float(step @ change) / float(change @ change)
        for (step, change), weight in zip(self._pairs, reversed(weights), strict=True):
            product += (weight - float(change @ product) / float(step @ change)) * step
        return product
