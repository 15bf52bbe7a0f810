"""Masks as text."""

from typing import Any

import pytest
import torch

from mascing.errors import MaskError
from mascing.mask import Mask
from mascing.mask_text import description, difference
from mascing.routers import RouterSpec

SPEC = RouterSpec(family="olmoe", layer_ids=(1, 3), n_experts=4, top_k=2, scoring="softmax", fingerprint="f" * 64)


def bias(entries: dict[tuple[int, int], float], **provenance: Any) -> Mask:
    bias_LE = torch.zeros(2, 4)
    for place, value in entries.items():
        bias_LE[place] = value
    return Mask.from_bias(bias_LE, SPEC, provenance)


def override(on: list[tuple[int, int]], off: list[tuple[int, int]]) -> Mask:
    activated, deactivated = torch.zeros(2, 4, dtype=torch.bool), torch.zeros(2, 4, dtype=torch.bool)
    for place in on:
        activated[place] = True
    for place in off:
        deactivated[place] = True
    return Mask.from_override(activated, deactivated, torch.zeros(2, 4), SPEC)


def test_a_bias_is_shown_by_the_models_own_layer_numbers() -> None:
    text = description(bias({(0, 1): 0.5, (1, 3): -2.0, (1, 0): 1.25}, method="gradient", l1=0.001))
    assert text.splitlines()[-2:] == ["    1  1: +0.500", "    3  0: +1.250, 3: -2.000"]
    assert "olmoe, 2 MoE layers x 4 experts, top-2" in text
    assert "entries     3 of 8" in text
    assert "method      gradient" in text
    assert "l1          0.001" in text


def test_an_override_is_shown_by_what_is_forced() -> None:
    text = description(override(on=[(0, 2)], off=[(0, 3)]))
    assert text.splitlines()[-2:] == ["    1  2: on, 3: off", "    3  -"]
    assert "override (epsilon 0.01)" in text


def test_a_difference_names_every_changed_expert_and_nothing_else() -> None:
    before = bias({(0, 0): 1.0, (0, 1): 0.5, (1, 2): 1.0}, alpha=1.0)
    after = bias({(0, 0): 1.0, (0, 1): 0.75, (1, 3): -1.0}, alpha=1.5)
    assert difference(before, after).splitlines() == [
        "alpha: 1.0 -> 1.5",
        "layer  1  1: +0.500 -> +0.750",
        "layer  3  2: +1.000 -> 0, 3: 0 -> -1.000",
        "3 of 8 entries differ",
    ]


def test_a_change_of_rule_is_said() -> None:
    text = difference(bias({(0, 0): 1.0}), override(on=[(0, 0)], off=[]))
    assert text.splitlines()[0] == "rule: bias (added to the router logits) -> override (epsilon 0.01)"
    assert "0: +1.000 -> on" in text


def test_equal_masks_have_no_difference() -> None:
    assert difference(bias({(0, 0): 1.0}), bias({(0, 0): 1.0})) == "no difference: the masks are the same"


def test_masks_of_other_shapes_cannot_be_compared() -> None:
    spec = RouterSpec(family="olmoe", layer_ids=(1, 3), n_experts=8, top_k=2, scoring="softmax")
    with pytest.raises(MaskError, match="one is for 2 layers x 4 experts, the other for 2 x 8"):
        difference(bias({}), Mask.from_bias(torch.zeros(2, 8), spec))
