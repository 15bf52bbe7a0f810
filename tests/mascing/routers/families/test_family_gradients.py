"""Gradients through selection, on tiny models of families whose weights are of the selected experts alone."""

import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor

from mascing.circuits.gradient.frozen import frozen
from mascing.circuits.gradient.straight_through import StraightThrough
from mascing.masks.mask import Mask
from mascing.routers.spec import RouterSpec, inspect_routers
from mascing.routers.tap import tap_routers
from mascing.steering.steer import steer
from mascing.traces.recording import record
from tests.mascing.routers.families.family_models import build
from tests.mascing.routers.families.selections import captured

PROMPTS = torch.arange(20, 40)[:, None]
"""Prompts of one token, so that a token either selects an expert or does not."""


class Case:
    """A family's model, gentle enough for differences to be nearly linear, and what each row selects by itself."""

    def __init__(self, name: str) -> None:
        self.model = build(name)
        for parameter, tensor in self.model.named_parameters():
            if "experts" in parameter and ("down_proj" in parameter or "w2" in parameter):
                tensor.data.mul_(0.1)
        self.spec: RouterSpec = inspect_routers(self.model)
        with record(self.model) as trace, captured(self.model) as layers, torch.no_grad():
            self.margins_B = self.margins(PROMPTS)
        self.sigma = trace.logits.flatten(0, 1).transpose(0, 1).flatten(1).std(dim=1)
        self.selected_BLE = torch.zeros(len(PROMPTS), self.spec.n_layers, self.spec.n_experts, dtype=torch.bool)
        for layer, captured_layer in enumerate(layers):
            for row, selection in enumerate(captured_layer.selections):
                experts = [expert for expert in selection if expert < self.spec.n_experts]
                self.selected_BLE[row, layer, experts] = True

    def margins(self, ids_BT: Tensor) -> Tensor:
        logits_BV: Tensor = self.model(ids_BT, use_cache=False).logits.float()[:, -1]
        return logits_BV[:, 10] - logits_BV[:, 11]

    def attribution(self) -> Tensor:
        """d margin / d S of every row, [B, L, E]."""
        S_LE = torch.zeros(self.spec.n_layers, self.spec.n_experts, requires_grad=True)
        with frozen(self.model), StraightThrough(self.model, self.sigma, S_LE):
            return torch.stack([torch.autograd.grad(self.margins(row[None]).sum(), S_LE)[0] for row in PROMPTS])

    def plain_gradient(self) -> Tensor:
        """The same without anything for selection."""
        S_LE = torch.zeros(self.spec.n_layers, self.spec.n_experts, requires_grad=True)
        with frozen(self.model), tap_routers(self.model, lambda layer, logits: logits + S_LE[layer]):
            return torch.stack([torch.autograd.grad(self.margins(row[None]).sum(), S_LE)[0] for row in PROMPTS])

    def forced(self) -> Tensor:
        """What forcing each expert on does to the margin of every row, [B, L, E]."""
        change_BLE = torch.empty(self.selected_BLE.shape)
        nothing_LE = torch.zeros(self.spec.n_layers, self.spec.n_experts)
        for layer, expert in nothing_LE.bool().logical_not().nonzero().tolist():
            on_LE = nothing_LE.bool()
            on_LE[layer, expert] = True
            mask = Mask.from_override(on_LE, nothing_LE.bool(), nothing_LE, self.spec, 1e-2, {})
            with steer(self.model, mask), torch.no_grad():
                change_BLE[:, layer, expert] = self.margins(PROMPTS) - self.margins_B
        return change_BLE


@pytest.fixture(scope="module", params=["mixtral", "gpt_oss", "deepseek_v3", "qwen3_moe"])
def case(request: pytest.FixtureRequest) -> Case:
    torch.set_num_threads(1)
    return Case(request.param)


def test_unselected_experts_get_the_gradient_of_being_selected(case: Case) -> None:
    unselected_BLE = ~case.selected_BLE
    attributed, forced = case.attribution()[unselected_BLE], case.forced()[unselected_BLE]
    strong = forced.abs() >= forced.abs().median()
    assert (attributed.sign() == forced.sign())[strong].float().mean() > 0.95
    assert spearmanr(attributed, forced).statistic > 0.8
    if case.spec.family != "qwen3_moe":  # whose weights, without norm_topk_prob, are shares of all experts
        assert case.plain_gradient()[unselected_BLE].abs().max() < 1e-4 * attributed.abs().max()


def test_the_forward_is_the_models_own(case: Case) -> None:
    S_LE = torch.zeros(case.spec.n_layers, case.spec.n_experts, requires_grad=True)
    with StraightThrough(case.model, case.sigma, S_LE), torch.no_grad():
        assert torch.allclose(case.margins(PROMPTS), case.margins_B, atol=1e-6)
    with torch.no_grad():
        assert torch.equal(case.margins(PROMPTS), case.margins_B)


@pytest.mark.parametrize("name", ["longcat_flash", "inkling_text", "dbrx"])
def test_logits_beside_those_of_the_experts_and_outputs_of_another_shape_do_not_stand_in_the_way(name: str) -> None:
    case = Case(name)
    attributed_BLE = case.attribution()
    assert attributed_BLE.shape == case.selected_BLE.shape
    assert attributed_BLE.isfinite().all()
    assert (attributed_BLE[~case.selected_BLE] != 0).float().mean() > 0.5


def test_noise_selects_other_experts_and_is_the_same_for_the_same_turn(case: Case) -> None:
    S_LE = torch.zeros(case.spec.n_layers, case.spec.n_experts, requires_grad=True)
    selections = []
    with StraightThrough(case.model, case.sigma, S_LE, seed=1) as through, torch.no_grad():
        through.noise = 2.0
        for turn in (0, 0, 1):
            through.turn = turn
            with captured(case.model) as layers:
                case.margins(PROMPTS)
            selections.append([set(selection) for layer in layers for selection in layer.selections])
    assert selections[0] == selections[1]
    assert sum(a != b for a, b in zip(selections[0], selections[2], strict=True)) > len(selections[0]) / 2
