"""What the two rules have in common, and what each refuses by itself."""

import pytest
import torch

from mascing.errors import MaskError
from mascing.masks.mask import Mask
from mascing.masks.rules import BiasRule, OverrideRule, Rule, rule_of
from mascing.routers.spec import RouterSpec

BIAS = BiasRule(torch.tensor([[1.0, 0.0, -2.0], [0.0, 0.0, 3.0]]))
OVERRIDE = OverrideRule(
    torch.tensor([[True, False, False], [False, False, False]]),
    torch.tensor([[False, False, True], [False, True, False]]),
    torch.tensor([[0.5, 0.1, -0.25], [0.0, -1.0, 0.0]]),
    epsilon=0.02,
)
every_rule = pytest.mark.parametrize("rule", [BIAS, OVERRIDE], ids=["bias", "override"])


@every_rule
def test_its_tensors_and_its_epsilon_make_it_anew(rule: Rule) -> None:
    rebuilt = rule_of(rule.tensors, rule.epsilon)
    assert rebuilt.name == rule.name
    assert rebuilt.epsilon == rule.epsilon
    assert all(torch.equal(rebuilt.tensors[name], tensor) for name, tensor in rule.tensors.items())


@every_rule
def test_an_entry_is_an_expert_with_a_sign(rule: Rule) -> None:
    assert torch.equal(rule.entries_LE, rule.signed_LE != 0)


def test_the_sign_says_what_is_done() -> None:
    assert torch.equal(BIAS.signed_LE, BIAS.bias_LE)
    assert OVERRIDE.signed_LE.tolist() == [[1, 0, -1], [0, -1, 0]]


def test_strength_is_in_units_of_each_layers_spread_or_the_size_of_the_priority() -> None:
    sigma_L = torch.tensor([0.5, 4.0])
    assert BIAS.strength_LE(sigma_L).tolist() == [[2.0, 0.0, 4.0], [0.0, 0.0, 0.75]]
    assert torch.equal(OVERRIDE.strength_LE(sigma_L), OVERRIDE.priority_LE.abs())


@every_rule
def test_restricted_does_the_same_to_the_kept_experts_and_nothing_to_the_others(rule: Rule) -> None:
    keep_LE = torch.tensor([[True, True, False], [True, True, True]])
    restricted = rule.restricted(keep_LE)
    assert torch.equal(restricted.signed_LE, rule.signed_LE * keep_LE)
    assert restricted.epsilon == rule.epsilon


@every_rule
def test_moved_does_to_another_expert_what_was_done_to_the_first(rule: Rule) -> None:
    moved = rule.moved(torch.tensor([[1, 2, 0], [0, 2, 1]]))
    for tensor, before in zip(moved.tensors.values(), rule.tensors.values(), strict=True):
        assert tensor[0].tolist() == before[0, [2, 0, 1]].tolist()
        assert tensor[1].tolist() == before[1, [0, 2, 1]].tolist()
    assert moved.epsilon == rule.epsilon


def test_tensors_of_different_shapes_are_refused() -> None:
    with pytest.raises(MaskError, match=r"one shape \[L, E\].*'priority': \[2, 2\]"):
        OverrideRule(OVERRIDE.activated_LE, OVERRIDE.deactivated_LE, torch.zeros(2, 2))


def test_more_forced_experts_than_a_layer_takes_are_refused_by_the_mask() -> None:
    spec = RouterSpec("olmoe", (0, 1), 3, 1, "softmax")
    forced = torch.tensor([[True, True, False], [False, False, False]])
    nothing = torch.zeros(2, 3, dtype=torch.bool)
    with pytest.raises(MaskError, match="no more than 1 can be activated and 2 deactivated"):
        Mask(spec, OverrideRule(forced, nothing, torch.zeros(2, 3)))
    with pytest.raises(MaskError, match="no more than 1 can be activated and 2 deactivated"):
        Mask(spec, OverrideRule(nothing, forced | True, torch.zeros(2, 3)))
