"""The gradient through selection: what it is, and how little of a forward pass it keeps for it."""

from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

from mascing.circuits.gradient.frozen import frozen, recomputed
from mascing.circuits.gradient.straight_through import StraightThrough
from mascing.routers.tap import tap_routers

IDS = torch.arange(5, 101).view(4, 24)
SIGMA = torch.tensor([0.7, 1.3])


@pytest.fixture(scope="module")
def model() -> Any:
    """A tiny model with the experts of Qwen3-30B-A3B: 128, of which a token takes 8; widths are an eighth of its."""
    torch.manual_seed(0)
    config = Qwen3MoeConfig(
        vocab_size=256,
        hidden_size=256,
        moe_intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=16,
        num_experts=128,
        num_experts_per_tok=8,
        norm_topk_prob=True,
    )
    return Qwen3MoeForCausalLM(config).eval()


def loss_of(model: Any) -> Tensor:
    chances_BTV = model(input_ids=IDS, use_cache=False).logits.log_softmax(-1)
    loss: Tensor = (chances_BTV[..., 3] - chances_BTV[..., 4]).sum()
    return loss


class SavedBytes(torch.autograd.graph.saved_tensors_hooks):
    """Bytes that the graph of the block's forwards keeps for the backward, tensors of the weights left out."""

    def __init__(self) -> None:
        self.bytes = 0
        super().__init__(self._pack, lambda tensor: tensor)

    def _pack(self, tensor: Tensor) -> Tensor:
        self.bytes += 0 if isinstance(tensor, nn.Parameter) else tensor.numel() * tensor.element_size()
        return tensor


def through_selection(model: Any, noise: float = 0.0) -> tuple[Tensor, int]:
    """The gradient at S = 0, and the bytes that its forward kept."""
    S_LE = torch.zeros(2, 128, requires_grad=True)
    with frozen(model), StraightThrough(model, SIGMA, S_LE) as through:
        through.noise = noise
        with (saved := SavedBytes()):
            loss = loss_of(model)
        return torch.autograd.grad(loss, S_LE)[0], saved.bytes


def test_it_keeps_no_more_than_a_plain_backward(model: Any) -> None:
    with (plain := SavedBytes()):
        loss_of(model)
    _, ours = through_selection(model)
    # A plain backward towards the inputs keeps less, for want of gradients of the weights.
    inputs = model.get_input_embeddings().register_forward_hook(lambda *given: given[-1].requires_grad_())
    try:
        with frozen(model), (to_inputs := SavedBytes()):
            loss_of(model)
    finally:
        inputs.remove()
    assert ours < to_inputs.bytes < plain.bytes


def test_recomputed_layers_keep_less_and_give_the_same_gradient(model: Any) -> None:
    expected_LE, in_one = through_selection(model, noise=1.0)
    with recomputed(model):
        gradient_LE, saved = through_selection(model, noise=1.0)
    assert torch.allclose(gradient_LE, expected_LE, rtol=1e-4, atol=1e-5)
    assert saved < in_one / 2
    assert not any(module.training for module in model.modules())


def test_it_is_the_gradient_of_all_experts_weights(model: Any) -> None:
    """As a graph of every expert's output for every token gives it, all of which it keeps."""
    gradient_LE, _ = through_selection(model)
    S_LE = torch.zeros(2, 128, requires_grad=True)
    steered: dict[int, Tensor] = {}

    def shift(layer: int, logits_NE: Tensor) -> Tensor:
        steered[layer] = logits_NE + SIGMA[layer] * S_LE[layer]
        return steered[layer]

    def every_expert(layer: int, experts: Any, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        hidden_NH, index_NK, weights_NK = inputs
        edge_N1 = steered[layer].detach().topk(9).values[:, -2:].mean(-1, keepdim=True)
        chance_NE = ((steered[layer] - edge_N1) / float(SIGMA[layer])).sigmoid()
        held_NE = torch.zeros_like(chance_NE).scatter(1, index_NK, weights_NK.detach())
        gained_NE = held_NE.sum(-1, keepdim=True) * (chance_NE - chance_NE.detach())
        exchanged_NE = gained_NE - held_NE / held_NE.sum(-1, keepdim=True) * gained_NE.sum(-1, keepdim=True)
        every_NE = torch.arange(128).expand_as(exchanged_NE)
        zero: Tensor = experts.forward(hidden_NH.detach(), every_NE, exchanged_NE)
        return output + zero

    with ExitStack() as stack:
        stack.enter_context(frozen(model))
        stack.callback(tap_routers(model, shift).remove)
        for layer, block in enumerate(model.model.layers):
            stack.callback(block.mlp.experts.register_forward_hook(partial(every_expert, layer)).remove)
        [expected_LE] = torch.autograd.grad(loss_of(model), S_LE)
    assert torch.allclose(gradient_LE, expected_LE, rtol=1e-4, atol=1e-5 * float(expected_LE.abs().max()))
