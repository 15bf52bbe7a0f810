"""What an override can force where selection is limited to groups: 8 experts in 4 groups of which 2 are kept."""

import pytest
import torch
from torch import Tensor

from mascing.errors import MaskError
from mascing.masks.combining.composition import compose
from mascing.masks.groups import group_complaint
from mascing.masks.mask import Mask
from mascing.masks.rules import OverrideRule
from mascing.routers.spec import RouterSpec
from tests.mascing.mask_rules import override_of

NOTHING = torch.zeros(8, dtype=torch.bool)


def experts(*numbers: int) -> Tensor:
    return torch.isin(torch.arange(8), torch.tensor(numbers))


def a_spec(top_k: int = 3, groups: tuple[int, int] | None = (4, 2)) -> RouterSpec:
    return RouterSpec("made-up", (5,), 8, top_k, "unlisted", groups=groups)


def test_off_is_sure_only_if_any_kept_groups_leave_enough_experts() -> None:
    assert group_complaint(NOTHING, NOTHING, (4, 2), 4) is None
    assert "3 experts left of the 4" in str(group_complaint(NOTHING, experts(0), (4, 2), 4))
    assert group_complaint(NOTHING, experts(0), (4, 2), 3) is None
    assert "deactivate fewer" in str(group_complaint(NOTHING, experts(0, 4), (4, 2), 3))


def test_no_more_groups_are_forced_than_are_kept() -> None:
    assert group_complaint(experts(0, 1, 6), NOTHING, (4, 2), 3) is None
    assert "experts in 3 groups, but a token keeps 2 of 4" in str(group_complaint(experts(0, 3, 6), NOTHING, (4, 2), 3))


def test_a_composition_keeps_the_strongest_that_the_groups_can_force_and_reports_the_others() -> None:
    priority = torch.tensor([[0.9, 0.1, 0.2, 0.8, 0.7, 0.3, 0.0, -0.5]])
    first = Mask.from_override(experts(0, 1, 3)[None], experts(7)[None], priority, a_spec())
    second = Mask.from_override(experts(3, 4)[None], experts(2)[None], priority, a_spec())
    composed = compose([first, second])
    assert {conflict.expert for conflict in composed.conflicts if conflict.crowded} == {2, 4}
    rule = override_of(composed.mask)
    assert torch.equal(rule.activated_LE[0], experts(0, 1, 3))  # 4 is the third group, though stronger than 1
    assert torch.equal(rule.deactivated_LE[0], experts(7))  # with 2 off as well, two kept groups might have 2 experts


def test_a_mask_that_the_groups_cannot_force_is_refused_by_layer() -> None:
    rule = OverrideRule(experts(0, 3, 6)[None], NOTHING[None], torch.zeros(1, 8))
    assert Mask(a_spec(groups=None), rule).entries == 3
    with pytest.raises(MaskError, match="cannot hold in layer 5: it activates experts in 3 groups"):
        Mask(a_spec(), rule)


def test_groups_are_kept_in_a_file() -> None:
    mask = Mask.from_bias(torch.ones(1, 8), a_spec())
    assert Mask.from_bytes(mask.to_bytes()).spec.groups == (4, 2)
    assert "groups" not in a_spec(groups=None).to_json()
