import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from transformers import OlmoeForCausalLM

from mascing.errors import ModelError, SteeringError
from mascing.routers.tap import tap_routers, watch_routers
from tests.mascing.tiny_olmoe import tiny_olmoe, tokens


@pytest.fixture
def model() -> OlmoeForCausalLM:
    return tiny_olmoe()


def test_an_edit_that_does_nothing_changes_no_bit_and_the_model_comes_back_as_it_was(model: OlmoeForCausalLM) -> None:
    x = tokens(2, 7)
    plain = model(x).logits
    classes = [type(module) for module in model.modules()]
    with tap_routers(model, lambda layer, logits: logits):
        assert torch.equal(model(x).logits, plain)
        assert [type(module) for module in model.modules()] != classes
    assert [type(module) for module in model.modules()] == classes
    assert torch.equal(model(x).logits, plain)


def test_the_edit_sees_raw_logits_of_every_layer_in_depth_order(model: OlmoeForCausalLM) -> None:
    x = tokens(2, 5)
    watched: list[tuple[int, Tensor]] = []

    def edit(layer: int, logits: Tensor) -> Tensor:
        watched.append((layer, logits.detach()))
        return logits

    with tap_routers(model, edit):
        watched.clear()
        recorded = model(x, output_router_logits=True).router_logits
    assert [layer for layer, _ in watched] == [0, 1, 2]
    for (_, logits), theirs in zip(watched, recorded, strict=True):
        assert logits.shape == (10, 8)
        assert torch.equal(logits, theirs)


def test_gradients_reach_the_edit_the_router_weight_and_the_input(model: OlmoeForCausalLM) -> None:
    bias = torch.zeros(3, 8, requires_grad=True)
    router = model.model.layers[1].mlp.gate
    weight = router.weight
    with tap_routers(model, lambda layer, logits: logits + bias[layer]):
        model(tokens(2, 6)).logits.pow(2).sum().backward()
    assert bias.grad is not None
    assert weight.grad is not None
    assert (bias.grad.abs().sum(-1) > 0).all()
    by_bias, by_weight, by_input = bias.grad.clone(), weight.grad.clone(), model.model.embed_tokens.weight.grad.clone()

    model.zero_grad()
    other = torch.zeros(3, 8, requires_grad=True)
    for index, layer in enumerate(model.model.layers):
        layer.mlp.gate.forward = _wide_router(layer.mlp.gate, other[index])
    model(tokens(2, 6)).logits.pow(2).sum().backward()
    assert other.grad is not None
    torch.testing.assert_close(by_bias, other.grad, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(by_weight, weight.grad, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(by_input, model.model.embed_tokens.weight.grad, rtol=1e-4, atol=1e-4)


def test_taps_stack_in_order_and_come_off_in_any_order(model: OlmoeForCausalLM) -> None:
    x = tokens(1, 4)
    plain = model(x).logits
    watched: list[Tensor] = []
    first = tap_routers(model, lambda layer, logits: logits + 1)
    second = tap_routers(model, lambda layer, logits: logits * 2)
    watch = watch_routers(model, lambda layer, logits: watched.append(logits.detach()))
    tapped: list[Tensor] = []

    def look(layer: int, logits: Tensor) -> Tensor:
        tapped.append(logits.detach())
        return logits

    third = tap_routers(model, look)
    tapped.clear()
    model(x)
    torch.testing.assert_close(tapped[0], (watched[0] + 1) * 2)
    first.remove()
    first.remove()
    tapped.clear()
    watched.clear()
    model(x)
    torch.testing.assert_close(tapped[0], watched[0] * 2)
    for handle in (second, third, watch):
        handle.remove()
    assert torch.equal(model(x).logits, plain)


def test_a_block_that_never_calls_its_router_is_tapped_too(model: OlmoeForCausalLM) -> None:
    x = tokens(2, 5)
    plain = model(x).logits
    for layer in model.model.layers:
        layer.mlp.__class__ = _BlockThatReadsTheWeight
    assert torch.equal(model(x).logits, plain)
    bias = torch.randn(3, 8, generator=torch.Generator().manual_seed(1)) * 3
    with tap_routers(model, lambda layer, logits: logits + bias[layer]):
        inside = model(x).logits
    assert not torch.allclose(inside, plain)
    for layer in model.model.layers:
        layer.mlp.__class__ = _BlockThatReadsTheWeight.__base__
    with tap_routers(model, lambda layer, logits: logits + bias[layer]):
        torch.testing.assert_close(inside, model(x).logits)


def test_a_copy_made_while_tapped_is_tapped(model: OlmoeForCausalLM) -> None:
    x = tokens(2, 5)
    with tap_routers(model, lambda layer, logits: logits.flip(-1)):
        assert torch.equal(copy.deepcopy(model)(x).logits, model(x).logits)


def test_the_state_dict_of_a_tapped_model_is_plain(model: OlmoeForCausalLM) -> None:
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with tap_routers(model, lambda layer, logits: logits + 1):
        after = model.state_dict()
    assert before.keys() == after.keys()
    for name, tensor in after.items():
        assert type(tensor) is Tensor
        assert torch.equal(tensor, before[name])


def test_a_router_that_does_not_use_its_weight_in_a_linear_is_refused_by_name(model: OlmoeForCausalLM) -> None:
    plain = [type(layer.mlp.gate) for layer in model.model.layers]
    model.model.layers[1].mlp.gate.__class__ = _RouterByMatmul
    with pytest.raises(SteeringError, match=r"model\.layers\.1\.mlp\.gate \(0 times, 0 rows\)"):
        tap_routers(model, lambda layer, logits: logits)
    model.model.layers[1].mlp.gate.__class__ = plain[1]
    assert [type(layer.mlp.gate) for layer in model.model.layers] == plain


def test_a_layer_that_runs_twice_is_refused(model: OlmoeForCausalLM) -> None:
    layers = model.model.layers
    model.model.layers = nn.ModuleList([layers[0], layers[1], layers[1]])
    with pytest.raises(SteeringError, match="2 times"):
        tap_routers(model, lambda layer, logits: logits)


def test_a_model_without_routers_is_refused() -> None:
    with pytest.raises(ModelError, match="not a transformers model"):
        tap_routers(nn.Linear(2, 2), lambda layer, logits: logits)


def _wide_router(router: nn.Module, bias: Tensor) -> Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]:
    """A forward of OLMoE's router whose weight has one more column, the bias, for an input that is always one."""

    def forward(hidden_states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hidden = hidden_states.reshape(-1, hidden_states.shape[-1])
        wide = torch.cat([hidden, torch.ones(len(hidden), 1)], -1)
        logits = wide @ torch.cat([router.get_parameter("weight"), bias[:, None]], -1).T
        weights, indices = logits.softmax(-1).topk(2)
        return logits, weights, indices

    return forward


_Block = type(tiny_olmoe().model.layers[0].mlp)
_Router = type(tiny_olmoe().model.layers[0].mlp.gate)


class _BlockThatReadsTheWeight(_Block):  # type: ignore[valid-type, misc]
    def forward(self, hidden_states: Tensor) -> Tensor:
        flat = hidden_states.reshape(-1, hidden_states.shape[-1])
        probabilities = nn.functional.linear(flat, self.gate.weight).softmax(-1, dtype=torch.float)
        weights, indices = probabilities.topk(2, dim=-1)
        mixed: Tensor = self.experts(flat, indices, weights)
        return mixed.view(hidden_states.shape)


class _RouterByMatmul(_Router):  # type: ignore[valid-type, misc]
    def forward(self, hidden_states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits = hidden_states.reshape(-1, hidden_states.shape[-1]) @ self.weight.T
        weights, indices = logits.softmax(-1).topk(2)
        return logits, weights, indices
