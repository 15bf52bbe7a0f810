"""Splitting a dense model into experts, on a tiny random Llama."""

import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

import mascing
from mascing.testbeds.smollm.grouping import coactivation_groups
from mascing.testbeds.smollm.perplexity import experts_on, perplexity
from mascing.testbeds.smollm.split import split

_WORDS, _NEURONS = 97, 64


@pytest.fixture(scope="module")
def dense() -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=_WORDS,
        hidden_size=32,
        intermediate_size=_NEURONS,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        initializer_range=0.2,
    )
    torch.manual_seed(0)
    model: LlamaForCausalLM = LlamaForCausalLM(config).eval()
    return model


def text(seed: int, rows: int) -> Tensor:
    return torch.randint(0, _WORDS, (rows, 24), generator=torch.Generator().manual_seed(seed))


def distance(model: torch.nn.Module, other: torch.nn.Module, text_BT: Tensor) -> float:
    """Of the logits, as a share of their size."""
    with torch.inference_mode():
        first, second = model(text_BT).logits, other(text_BT).logits
    return float((first - second).norm() / first.norm())


def test_a_single_expert_is_the_dense_layer(dense: LlamaForCausalLM) -> None:
    moe = split(dense, text(0, 16), n_experts=1, top_k=1, seed=0)
    torch.testing.assert_close(moe(text(1, 4)).logits, dense(text(1, 4)).logits, atol=1e-5, rtol=1e-4)


def test_all_experts_on_nearly_are_the_dense_layer_and_fewer_are_further_away(dense: LlamaForCausalLM) -> None:
    distances = [
        distance(dense, split(dense, text(0, 64), n_experts=8, top_k=top_k, seed=0), text(1, 8)) for top_k in (8, 6, 2)
    ]
    assert distances[0] < 0.06
    assert distances[0] < distances[1] < distances[2]


def test_the_split_model_has_routers_that_can_be_recorded_and_steered(dense: LlamaForCausalLM) -> None:
    moe = split(dense, text(0, 16), n_experts=8, top_k=6, seed=0)
    spec = mascing.inspect_routers(moe)
    assert (spec.n_layers, spec.n_experts, spec.top_k) == (3, 8, 6)
    bias = torch.zeros(3, 8)
    bias[1, 2] = -1.0
    before = moe(text(1, 4)).logits
    with mascing.steer(moe, mascing.Mask.from_bias(bias, spec)):
        steered = moe(text(1, 4)).logits
    assert not torch.equal(before, steered)


def test_the_same_seed_gives_the_same_experts(dense: LlamaForCausalLM) -> None:
    first, second = (split(dense, text(0, 16), n_experts=8, top_k=6, seed=3).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_more_experts_can_be_on_for_a_while(dense: LlamaForCausalLM) -> None:
    moe = split(dense, text(0, 64), n_experts=8, top_k=4, seed=0)
    before = perplexity(moe, text(1, 4))
    away = distance(dense, moe, text(1, 8))
    with experts_on(moe, 8):
        assert distance(dense, moe, text(1, 8)) != away
        assert moe.model.layers[0].mlp.gate.top_k == 8
    assert perplexity(moe, text(1, 4)) == before


def test_neurons_that_are_active_together_become_one_expert() -> None:
    generator = torch.Generator().manual_seed(0)
    which_N = torch.randint(0, 4, (400,), generator=generator)
    family_F = torch.arange(16) % 4
    strength_NF = 0.1 + (which_N[:, None] == family_F).float() * (1 + torch.arange(16))
    strength_NF = strength_NF * (1 + 0.2 * torch.rand(400, 16, generator=generator))
    expert_F = coactivation_groups(strength_NF, 4, seed=0)
    assert len({(int(family), int(expert)) for family, expert in zip(family_F, expert_F, strict=True)}) == 4


def test_neurons_that_cannot_be_dealt_equally_are_refused(dense: LlamaForCausalLM) -> None:
    with pytest.raises(ValueError, match="64 neurons cannot be divided equally among 6 experts"):
        split(dense, text(0, 4), n_experts=6, top_k=2, seed=0)
