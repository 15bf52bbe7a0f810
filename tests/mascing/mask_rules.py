"""The rule of a mask, for tests that know its kind."""

from torch import Tensor

from mascing.masks.mask import Mask
from mascing.masks.rules import BiasRule, OverrideRule


def bias_of(mask: Mask) -> Tensor:
    assert isinstance(mask.rule, BiasRule)
    return mask.rule.bias_LE


def override_of(mask: Mask) -> OverrideRule:
    assert isinstance(mask.rule, OverrideRule)
    return mask.rule
