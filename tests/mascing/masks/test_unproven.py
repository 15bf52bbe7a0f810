"""The mark of a mask that no run published stays with it, and is shown first."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mascing.errors import MaskError
from mascing.masks.combining.composition import compose
from mascing.masks.mask import Mask
from mascing.masks.text import description, difference
from mascing.masks.unproven import marked_unproven, why_unproven
from mascing.routers.spec import RouterSpec

SPEC = RouterSpec(family="olmoe", layer_ids=(1, 3), n_experts=4, top_k=2, scoring="softmax", fingerprint="f" * 64)
PROVEN = Mask.from_bias(torch.eye(2, 4), SPEC, {"method": "gradient"})
UNPROVEN = marked_unproven(PROVEN, "it missed target on test")


def test_the_mark_makes_another_mask_of_equal_effect() -> None:
    assert why_unproven(PROVEN) is None
    assert why_unproven(UNPROVEN) == "it missed target on test"
    assert UNPROVEN.digest != PROVEN.digest
    assert torch.equal(UNPROVEN.rule.signed_LE, PROVEN.rule.signed_LE)
    assert UNPROVEN.provenance["method"] == "gradient"


def test_the_mark_outlives_the_file_and_any_depth_of_composition() -> None:
    stored = Mask.from_bytes(UNPROVEN.to_bytes())
    twice = compose([PROVEN, compose([PROVEN, stored]).mask]).mask
    assert why_unproven(stored) == why_unproven(twice) == "it missed target on test"
    assert why_unproven(compose([PROVEN, PROVEN]).mask) is None


@pytest.mark.parametrize(
    "made",
    [lambda mask: mask * 0.5, lambda mask: 2 * mask, lambda mask: -mask, lambda mask: PROVEN + mask,
     lambda mask: (mask + PROVEN) * 0.5 + PROVEN],
)  # fmt: skip
def test_the_mark_outlives_arithmetic_and_the_file_and_the_hub_is_refused(
    made: Callable[[Mask], Mask], tmp_path: Path
) -> None:
    made(UNPROVEN).save(tmp_path / "mask.safetensors")
    mask = Mask.load(tmp_path / "mask.safetensors")
    assert why_unproven(mask) == "it missed target on test"
    assert why_unproven(made(PROVEN)) is None
    assert repr(mask).startswith("Mask(unproven, olmoe 2 x 4, ")
    assert "<b>unproven</b>: it missed target on test" in mask._repr_html_()
    assert "unproven" not in repr(made(PROVEN)) + made(PROVEN)._repr_html_()
    with pytest.raises(MaskError, match=r"unproven \(it missed target on test\) and does not go to someone/defence"):
        mask.push_to_hub("someone/defence", token="hf_made_up")


def test_a_description_says_it_first_and_once() -> None:
    lines = description(UNPROVEN).splitlines()
    assert lines[0] == "UNPROVEN    it missed target on test"
    assert sum("it missed target" in line for line in lines) == 1
    assert lines[2:] == description(PROVEN).splitlines()[1:]  # but for the digest


def test_a_difference_compares_what_the_masks_are() -> None:
    composed = compose([UNPROVEN, PROVEN]).mask
    assert "unproven: " not in difference(UNPROVEN, composed)
    assert "unproven: - -> it missed target on test" in difference(PROVEN, composed).splitlines()
    assert "unproven: it missed target on test -> -" in difference(UNPROVEN, PROVEN).splitlines()
