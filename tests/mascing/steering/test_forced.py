"""Overrides where selection is hardest to force: groups, corrections below zero; seen by what the blocks select."""

from typing import Any

import pytest
import torch
from torch import Tensor

from mascing.errors import MaskError, SteeringError
from mascing.masks.mask import Mask
from mascing.masks.rules import OverrideRule
from mascing.routers.spec import RouterSpec, find_routers, inspect_routers
from mascing.steering import edits
from mascing.steering.steer import steer
from tests.mascing.routers.families.family_models import VOCABULARY, build
from tests.mascing.routers.families.selections import captured

BIG: dict[str, Any] = {"n_routed_experts": 32, "num_experts_per_tok": 8, "n_group": 8, "topk_group": 4}


def experts(spec: RouterSpec, *numbers: int) -> Tensor:
    forced_LE = torch.zeros(spec.n_layers, spec.n_experts, dtype=torch.bool)
    forced_LE[:, list(numbers)] = True
    return forced_LE


def an_override(spec: RouterSpec, on: tuple[int, ...] = (), off: tuple[int, ...] = ()) -> Mask:
    """As asked, without the cap of Mask.from_override."""
    priority_LE = torch.zeros(spec.n_layers, spec.n_experts)
    return Mask(spec, OverrideRule(experts(spec, *on), experts(spec, *off), priority_LE))


def rates(model: Any, mask: Mask) -> Tensor:
    """Share of 512 tokens that select each expert, [L, E]."""
    x = torch.randint(3, VOCABULARY, (16, 32), generator=torch.Generator().manual_seed(1))
    with torch.no_grad(), steer(model, mask), captured(model) as layers:
        model(x)
    return torch.tensor([[layer.rate(expert) for expert in range(mask.spec.n_experts)] for layer in layers])


def corrected(model: Any, low: float, high: float) -> Any:
    """The model with made-up corrections."""
    generator = torch.Generator().manual_seed(0)
    for router in find_routers(model):
        assert router.correction is not None
        router.correction.data.uniform_(low, high, generator=generator)
    return model


def test_experts_in_more_groups_than_are_kept_are_refused() -> None:
    model = build("deepseek_v3", **BIG)
    spec = inspect_routers(model)
    six_groups = (0, 4, 8, 12, 16, 20)
    with pytest.raises(MaskError, match=r"in layer 1: it activates experts in 6 groups, but a token keeps 4 of 8"):
        an_override(spec, six_groups)
    without_groups = RouterSpec.from_json({key: value for key, value in spec.to_json().items() if key != "groups"})
    old_file = an_override(without_groups, six_groups)
    with pytest.raises(MaskError, match="cannot hold in layer 1"):
        steer(model, old_file)
    with pytest.raises(MaskError, match="cannot hold in layer 1"):
        Mask.from_override(experts(spec, *six_groups), experts(spec), torch.zeros(spec.n_layers, 32), spec)


@pytest.mark.parametrize("family", ["deepseek_v3", "axk2"])
def test_an_activated_expert_keeps_its_group_even_if_all_others_in_it_are_off(family: str) -> None:
    model = corrected(build(family, **BIG), -0.2, 0.2)
    shares_LE = rates(model, an_override(inspect_routers(model), (0,), (1, 2, 3)))
    assert bool((shares_LE[:, 0] == 1).all())
    assert bool((shares_LE[:, 1:4] == 0).all())


@pytest.mark.parametrize("groups", [(2, 1), (4, 2)])
def test_an_activated_expert_keeps_its_group_where_a_group_scores_by_two_probabilities(groups: tuple[int, int]) -> None:
    model = build("mistral4", n_group=groups[0], topk_group=groups[1])
    mask = an_override(inspect_routers(model), (5,))
    assert bool((rates(model, mask)[:, 5] == 1).all())


@pytest.mark.parametrize("correction", [(-2.0, -1.0), (-0.6, 0.1), (-300.0, 100.0)])
def test_an_expert_is_off_though_other_groups_are_masked_with_0(correction: tuple[float, float]) -> None:
    model = corrected(build("axk2", **BIG), *correction)
    off = (0, 5, 9, 30)
    assert bool((rates(model, an_override(inspect_routers(model), off=off))[:, off] == 0).all())


def test_masks_of_rows_hold_in_groups_too() -> None:
    model = corrected(build("axk2", **BIG), -0.6, 0.1)
    spec = inspect_routers(model)
    x = torch.randint(3, VOCABULARY, (3, 64), generator=torch.Generator().manual_seed(1))
    masks = [an_override(spec, (31,), (0,)), None, an_override(spec, (0,), (31,))]
    with torch.no_grad(), steer(model, masks), captured(model) as layers:
        model(x)
    for layer in layers:
        first, _, last = (layer.selections[start : start + 64] for start in (0, 64, 128))
        assert all(31 in chosen and 0 not in chosen for chosen in first)
        assert all(0 in chosen and 31 not in chosen for chosen in last)


def test_what_does_not_hold_is_refused_and_the_model_is_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build("mistral4", n_group=4, topk_group=1)
    spec = inspect_routers(model)
    x = torch.arange(3, 13)[None]
    plain = model(x).logits
    monkeypatch.setattr(edits, "group_lead", lambda *of: 0.0)  # the paper's rule alone
    refusal = r"expert 5 of model\.layers\.\d\.mlp\.gate is forced on, but \d\d\.\d% of 256 tokens select it"
    with pytest.raises(SteeringError, match=refusal):
        steer(model, an_override(spec, (5,)))
    with pytest.raises(SteeringError, match="expert 5 of"):
        steer(model, [None, an_override(spec, (5,))])
    assert torch.equal(model(x).logits, plain)
    model(x.expand(3, -1))

    with steer(model, an_override(spec)) as handle:
        with pytest.raises(SteeringError, match="expert 5 of"):
            handle.swap(an_override(spec, (5,)))
        assert set(handle.counters.values()) == {0}
        assert torch.equal(model(x).logits, plain)
