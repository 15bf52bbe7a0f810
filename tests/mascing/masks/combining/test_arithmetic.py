"""Multiples and sums of bias masks."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from mascing.errors import MaskError
from mascing.masks.combining.composition import compose
from mascing.masks.mask import Mask
from tests.mascing.masks.test_experts import SPEC


def a_mask(seed: int = 0) -> Mask:
    bias_LE = torch.randn(3, 8, generator=torch.Generator().manual_seed(seed))
    bias_LE[0] = 0
    return Mask.from_bias(bias_LE, SPEC, {"method": "gradient", "alpha": 1.5})


def an_override() -> Mask:
    on = torch.zeros(3, 8, dtype=torch.bool)
    on[0, 3] = True
    return Mask.from_override(on, torch.zeros_like(on), torch.zeros(3, 8), SPEC)


def test_a_mask_times_a_number_says_how_it_was_made() -> None:
    mask = a_mask()
    half = mask * 0.5
    assert torch.equal(half.rule.signed_LE, mask.rule.signed_LE * 0.5)
    assert half.spec == mask.spec
    part = {"digest": mask.digest, "method": "gradient", "alpha": 1.5}
    assert half.provenance == {"method": "scaling", "factor": 0.5, "part": part}
    assert 0.5 * mask == half
    assert Mask.from_bytes(half.to_bytes()) == half


def test_a_mask_changes_its_sign_without_a_negative_zero() -> None:
    mask = a_mask()
    assert -mask == mask * -1
    assert torch.equal((-mask).rule.signed_LE, -mask.rule.signed_LE)
    assert (-mask).entries == mask.entries == 16
    assert not bool((-mask).rule.signed_LE.signbit()[0].any())
    assert (mask * 0).entries == 0


def test_a_sum_is_the_composition() -> None:
    one, other = a_mask(), a_mask(1)
    assert one + other == compose([one, other]).mask
    assert torch.equal((one + other).rule.signed_LE, one.rule.signed_LE + other.rule.signed_LE)
    assert [part["digest"] for part in (one + other).provenance["parts"]] == [one.digest, other.digest]
    assert torch.equal((one + -one).rule.signed_LE, torch.zeros(3, 8))


@pytest.mark.parametrize("factor", ["half", None, float("nan"), float("inf"), True, torch.ones(3, 8)])
def test_only_a_finite_number_multiplies_a_mask(factor: Any) -> None:
    with pytest.raises(MaskError, match="what multiplies a mask is a finite number"):
        a_mask() * factor


@pytest.mark.parametrize("other", [1, "mask", None, torch.ones(3, 8)])
def test_only_a_mask_is_added_to_a_mask(other: Any) -> None:
    with pytest.raises(MaskError, match="a mask can be added to a mask, not to"):
        a_mask() + other


def test_masks_of_other_models_are_not_added() -> None:
    other = Mask.from_bias(torch.zeros(3, 8), replace(SPEC, fingerprint="0" * 64))
    with pytest.raises(MaskError, match="for another model"):
        a_mask() + other


def test_an_override_has_no_size() -> None:
    with pytest.raises(MaskError, match="has no size that could be multiplied"):
        an_override() * 2
    with pytest.raises(MaskError, match="has no size that could be multiplied"):
        -an_override()
    for one, other in ((a_mask(), an_override()), (an_override(), an_override())):
        with pytest.raises(MaskError, match=r"has no size that could be added.*mascing mask compose"):
            one + other
