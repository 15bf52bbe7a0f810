import pytest
import torch
from torch import Tensor

from mascing.errors import MaskError
from mascing.masks.mask import Mask
from mascing.masks.precision import circuit_precision
from mascing.routers.spec import RouterSpec

SPEC = RouterSpec("olmoe", (0, 1), 4, 2, "softmax")
TRUTH = torch.tensor([[1.0, -1.0, 0.0, 0.0], [0.0, 0.0, 1.0, -1.0]])


def additive(bias: Tensor) -> Mask:
    return Mask.from_bias(bias, SPEC)


def override(on: Tensor, off: Tensor, priority: Tensor) -> Mask:
    return Mask.from_override(on, off, priority, SPEC)


def test_the_truth_itself_is_wholly_precise() -> None:
    assert circuit_precision(additive(0.3 * TRUTH), TRUTH) == 1.0


def test_the_opposite_sign_is_wrong() -> None:
    assert circuit_precision(additive(-TRUTH), TRUTH) == 0.0


def test_only_as_many_entries_as_are_planted_count() -> None:
    bias = TRUTH + torch.tensor([[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 0.0, 0.0]])
    assert circuit_precision(additive(bias), TRUTH) == 1.0
    bias = TRUTH + torch.tensor([[0.0, 0.0, 2.0, 0.0], [2.0, 2.0, 0.0, 0.0]])
    assert circuit_precision(additive(bias), TRUTH) == 0.25


def test_a_mask_of_fewer_entries_is_judged_by_what_it_has() -> None:
    bias = torch.zeros(2, 4)
    bias[0, 0], bias[1, 1] = 1.0, 1.0
    assert circuit_precision(additive(bias), TRUTH) == 0.5


def test_no_entries_no_precision() -> None:
    assert circuit_precision(additive(torch.zeros(2, 4)), TRUTH) == 0.0


def test_an_override_mask_counts_activated_as_raised_and_deactivated_as_lowered() -> None:
    delta = 0.5 * TRUTH
    assert circuit_precision(override(TRUTH > 0, TRUTH < 0, delta), TRUTH) == 1.0
    assert circuit_precision(override(TRUTH < 0, TRUTH > 0, delta), TRUTH) == 0.0


def test_the_largest_risk_differences_of_an_override_mask_count() -> None:
    on = torch.tensor([[True, False, True, False], [False, True, True, False]])
    delta = torch.tensor([[0.1, 0.0, 0.9, 0.0], [0.0, 0.8, 0.7, 0.0]])
    two_planted = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]])
    assert circuit_precision(override(on, torch.zeros(2, 4, dtype=torch.bool), delta), two_planted) == 0.0


def test_an_override_entry_without_risk_difference_still_counts() -> None:
    on = torch.zeros(2, 4, dtype=torch.bool)
    on[0, 0] = True
    assert circuit_precision(override(on, torch.zeros_like(on), torch.zeros(2, 4)), TRUTH) == 1.0


def test_another_shape_is_refused() -> None:
    with pytest.raises(MaskError, match="differ"):
        circuit_precision(additive(TRUTH), torch.zeros(3, 4))
