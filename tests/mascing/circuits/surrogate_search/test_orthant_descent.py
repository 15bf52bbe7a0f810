from itertools import pairwise

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mascing.circuits.surrogate_search.orthant_descent import OrthantDescent


def descended(hessian: Tensor, target: Tensor, weight: float, evaluations: int = 60) -> Tensor:
    """Minimiser of (x - target)' H (x - target) / 2 + weight * |x|_1, from 0."""
    descent = OrthantDescent(torch.zeros_like(target), weight)
    for _ in range(evaluations):
        off = descent.trial - target
        descent.update(float(off @ hessian @ off) / 2, hessian @ off)
    return descent.point


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), weight=st.sampled_from([0.0, 0.1, 1.0]))
def test_it_finds_the_known_minimum_of_a_separable_loss(seed: int, weight: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    target, curvature = torch.randn(12, generator=generator), torch.rand(12, generator=generator) + 0.5
    expected = target.sign() * (target.abs() - weight / curvature).clamp(min=0)
    minimum = descended(curvature.diag(), target, weight)
    assert torch.allclose(minimum, expected, atol=2e-3)
    assert (minimum[expected == 0] == 0).all()


def test_no_one_sided_slope_leads_down_from_where_it_ends() -> None:
    generator = torch.Generator().manual_seed(0)
    root, target, weight = torch.randn(12, 12, generator=generator), torch.randn(12, generator=generator), 2.0
    hessian = root @ root.T + torch.eye(12)
    minimum = descended(hessian, target, weight, evaluations=200)
    gradient = hessian @ (minimum - target)
    assert 0 < minimum.count_nonzero() < 12
    assert (gradient[minimum == 0].abs() <= weight + 1e-2).all()
    assert torch.allclose(gradient[minimum != 0], -weight * minimum[minimum != 0].sign(), atol=2e-2)


def test_the_point_never_gets_worse_and_no_entry_leaps() -> None:
    descent, losses, points = OrthantDescent(torch.tensor([2.0, -3.0]), 0.01), [], []
    for _ in range(30):
        x = descent.trial
        losses.append(float(100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2))
        slope = torch.stack([-400 * x[0] * (x[1] - x[0] ** 2) - 2 * (1 - x[0]), 200 * (x[1] - x[0] ** 2)])
        descent.update(losses[-1], slope)
        points.append(descent.point)
    at_points = [float(100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2 + 0.01 * x.abs().sum()) for x in points]
    assert at_points == sorted(at_points, reverse=True)
    assert at_points[-1] < at_points[0] / 100
    assert all(float((b - a).abs().max()) <= 1.0 + 1e-6 for a, b in pairwise(points))
