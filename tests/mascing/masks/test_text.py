"""Masks as text."""

from typing import Any

import pytest
import torch

from mascing.errors import MaskError
from mascing.masks.combining.composition import compose
from mascing.masks.mask import Mask
from mascing.masks.text import conflict_report, description, difference
from mascing.routers.spec import RouterSpec

SPEC = RouterSpec(family="olmoe", layer_ids=(1, 3), n_experts=4, top_k=2, scoring="softmax", fingerprint="f" * 64)


def bias(entries: dict[tuple[int, int], float], **provenance: Any) -> Mask:
    bias_LE = torch.zeros(2, 4)
    for place, value in entries.items():
        bias_LE[place] = value
    return Mask.from_bias(bias_LE, SPEC, provenance)


def override(
    on: list[tuple[int, int]],
    off: list[tuple[int, int]],
    priority: dict[tuple[int, int], float] | None = None,
    **provenance: Any,
) -> Mask:
    priorities = torch.zeros(2, 4)
    for place, value in (priority or {}).items():
        priorities[place] = value
    activated, deactivated = torch.zeros(2, 4, dtype=torch.bool), torch.zeros(2, 4, dtype=torch.bool)
    for place in on:
        activated[place] = True
    for place in off:
        deactivated[place] = True
    return Mask.from_override(activated, deactivated, priorities, SPEC, provenance=provenance)


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


def test_a_difference_names_every_changed_expert_by_kind_and_nothing_else() -> None:
    before = bias({(0, 0): 1.0, (0, 1): 0.5, (0, 2): -0.5, (1, 2): 1.0, (1, 1): 2.0}, alpha=1.0)
    after = bias({(0, 0): 1.0, (0, 1): 0.75, (0, 2): 0.25, (1, 3): -1.0, (1, 1): 1.0}, alpha=1.5)
    assert difference(before, after).splitlines() == [
        "alpha: 1.0 -> 1.5",
        "",
        "layer  1  flipped   2: -0.500 -> +0.250",
        "          stronger  1: +0.500 -> +0.750",
        "layer  3  added     3: -1.000",
        "          removed   2: +1.000",
        "          weaker    1: +2.000 -> +1.000",
        "5 of 8 entries differ: 1 added, 1 removed, 1 flipped, 1 stronger, 1 weaker",
    ]


def test_a_difference_of_overrides_tells_forced_experts_and_their_priority() -> None:
    before = override(on=[(0, 0), (0, 1)], off=[(1, 0)], priority={(0, 0): 0.25})
    after = override(on=[(0, 0), (1, 0)], off=[(1, 3)], priority={(0, 0): 0.5, (1, 3): -0.125})
    assert difference(before, after).splitlines() == [
        "layer  1  removed   1: on",
        "          stronger  0: on (+0.250) -> on (+0.500)",
        "layer  3  added     3: off (-0.125)",
        "          flipped   0: off -> on",
        "4 of 8 entries differ: 1 added, 1 removed, 1 flipped, 1 stronger",
    ]


def test_masks_that_differ_in_their_facts_alone_say_so() -> None:
    text = difference(bias({(0, 0): 1.0}, seed=0), bias({(0, 0): 1.0}, seed=1))
    assert text.splitlines() == ["seed: 0 -> 1", "0 of 8 entries differ"]


def test_many_entries_are_folded_between_experts() -> None:
    spec = RouterSpec(family="olmoe", layer_ids=(1,), n_experts=64, top_k=2, scoring="softmax")
    lines = difference(Mask.from_bias(torch.ones(1, 64), spec), Mask.from_bias(-torch.ones(1, 64), spec)).splitlines()
    assert max(map(len, lines)) <= 100
    assert all(line.removesuffix(",").endswith("+1.000 -> -1.000") for line in lines[:-1])
    assert lines[0].startswith("layer  1  flipped   0: ")
    assert lines[1].startswith("                    ")


def test_rows_of_the_provenance_are_shown_a_line_each() -> None:
    rows = [{"layer": 1, "expert": 2, "odds_ratio": 3.5}, {"layer": 3, "expert": 0, "odds_ratio": 0.25}]
    assert "\n".join(
        ["experts     layer 1, expert 2, odds_ratio 3.5", "            layer 3, expert 0, odds_ratio 0.25"]
    ) in description(bias({(0, 0): 1.0}, experts=rows))


def test_forced_experts_that_the_provenance_lists_are_shown_once_and_by_their_place() -> None:
    rows = [{"expert": 2, "forced": "on", "layer": 1, "odds_ratio": 3.5}]
    text = description(override(on=[(0, 2)], off=[], experts=rows))
    assert text.endswith("experts     layer 1, expert 2, forced on, odds_ratio 3.5")
    more = description(override(on=[(0, 2)], off=[(0, 3)], experts=rows))
    assert "layer  experts\n" in more


def test_a_pruned_mask_tells_what_it_is_apart_from_what_the_search_made() -> None:
    rows = [{"expert": 2, "forced": "on", "layer": 1}]
    mask = override([(0, 2)], [], method="steermoe", n_activated=2, n_deactivated=2, experts=rows, kept=1, kept_of=4)
    assert description(mask).splitlines()[2:] == [
        "rule        override (epsilon 0.01)",
        "entries     1 of 8, what pruning left of 4",
        "experts     layer 1, expert 2, forced on",
        "method      steermoe",
        "",
        "settings and counts of the search, before pruning",
        "n_activated 2",
        "n_deactivated 2",
    ]


def test_a_mask_that_lost_nothing_to_pruning_is_the_one_that_the_search_made() -> None:
    found = description(bias({(0, 1): 0.5}, method="gradient", l1=0.001)).splitlines()
    kept = description(bias({(0, 1): 0.5}, method="gradient", l1=0.001, kept=1, kept_of=1)).splitlines()
    assert kept[1:] == found[1:]  # but for the digest


def test_what_pruning_left_is_said_in_words_of_parts_and_differences_too() -> None:
    pruned = bias({(0, 0): 1.0}, method="gradient", kept=1, kept_of=7)
    assert "method gradient, entries 1, entries before pruning 7" in description(pruned * 2)
    assert "entries before pruning: 7 -> 5" in difference(pruned, bias({(0, 0): 2.0}, kept=1, kept_of=5))


def test_conflicts_of_biases_are_told_with_what_is_left() -> None:
    composed = compose([bias({(0, 0): 1.0, (1, 1): 0.5}), bias({(0, 0): -0.25, (1, 1): 0.5})])
    assert conflict_report(composed, ["a@candidate", "b@candidate"]).splitlines() == [
        "1: a@candidate",
        "2: b@candidate",
        "2 entries; 2 experts are moved by more than one mask",
        "1 conflict: 1 pulled both ways",
        "",
        "layer  1  expert   0  1: +1.000, 2: -0.250 -> +0.750",
    ]


def test_conflicts_of_overrides_are_told_in_words() -> None:
    composed = compose([override([(0, 0), (0, 1)], [(1, 3)]), override([(0, 2), (1, 3)], [])])
    assert conflict_report(composed, ["a", "b"]).splitlines()[2:] == [
        "2 entries; 1 expert is moved by more than one mask",
        "2 conflicts: 1 pulled both ways, 1 beyond what a layer can force",
        "",
        "layer  1  expert   2  2: on -> left alone (the layer is full)",
        "layer  3  expert   3  1: off, 2: on -> left alone",
    ]


def test_masks_that_agree_have_no_conflicts() -> None:
    composed = compose([bias({(0, 0): 1.0}), bias({(1, 1): 1.0})])
    assert conflict_report(composed, ["a", "b"]).splitlines()[-1] == "no conflicts"


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
