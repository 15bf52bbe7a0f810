"""What notebooks and consoles show of a mask."""

from dataclasses import replace
from xml.etree import ElementTree

import torch

from mascing.masks.mask import Mask
from tests.mascing.masks.combining.test_arithmetic import a_mask, an_override
from tests.mascing.masks.test_experts import SPEC


def test_a_short_repr_names_model_rule_and_digest() -> None:
    mask = a_mask()
    assert repr(mask) == f"Mask(olmoe 3 x 8, bias, 16 entries, method gradient, digest {mask.digest[:12]})"
    assert repr(an_override()).startswith("Mask(olmoe 3 x 8, override, 1 entries, method -, digest ")


def test_the_picture_is_whole_and_holds_every_entry() -> None:
    mask = a_mask()
    picture = ElementTree.fromstring(mask._repr_html_())
    titles = [title.text for title in picture.iter("title")]
    wanted = [
        f"layer {SPEC.layer_ids[layer]}, expert {expert}: {mask.rule.signed_LE[layer, expert]:+.3f}"
        for layer, expert in mask.rule.entries_LE.nonzero().tolist()
    ]
    assert titles == wanted
    assert "and 8 more" in "".join(picture.itertext())
    assert mask.digest[:12] in "".join(picture.itertext())


def test_an_override_and_an_empty_mask_are_shown_too() -> None:
    assert "layer 1, expert 3: on" in an_override()._repr_html_()
    empty = Mask.from_bias(torch.zeros(3, 8), SPEC)
    assert "0 of 24 entries" in empty._repr_html_()


def test_names_from_elsewhere_are_text() -> None:
    mask = Mask.from_bias(torch.ones(3, 8), replace(SPEC, family="<script>"), {"method": "<b>bold</b>"})
    picture = mask._repr_html_()
    assert "<script>" not in picture
    assert "<b>bold" not in picture


def test_a_large_mask_stays_small_enough_for_a_notebook() -> None:
    spec = replace(SPEC, layer_ids=tuple(range(48)), n_experts=128)
    bias_LE = torch.zeros(48, 128)
    bias_LE[::4, ::8] = 1.0
    picture = Mask.from_bias(bias_LE, spec)._repr_html_()
    assert len(picture) < 100_000
    width = int(picture.split('width="')[1].split('"')[0])
    assert width <= 700
