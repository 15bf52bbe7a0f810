import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import dispatch_model
from torch import nn
from transformers import DogeConfig, DogeForCausalLM, LlamaConfig, LlamaForCausalLM, OlmoeForCausalLM

from mascing.errors import ModelError
from mascing.routers.spec import RouterSpec, inspect_routers
from mascing.traces.recording import record
from tests.mascing.tiny_olmoe import tiny_olmoe


@pytest.fixture
def model() -> OlmoeForCausalLM:
    return tiny_olmoe()


def test_a_spec_survives_json(model: OlmoeForCausalLM) -> None:
    spec = inspect_routers(model)
    assert RouterSpec.from_json(spec.to_json()) == spec
    assert (spec.family, spec.layer_ids, spec.n_experts, spec.top_k) == ("olmoe", (0, 1, 2), 8, 2)
    assert spec.n_layers == 3


def test_the_fingerprint_is_that_of_the_checkpoint_not_of_how_it_is_loaded(
    model: OlmoeForCausalLM, tmp_path: Path
) -> None:
    fingerprint = inspect_routers(model).fingerprint
    model.to(torch.bfloat16).save_pretrained(tmp_path)
    for options in (
        {"dtype": torch.float32},
        {"dtype": torch.bfloat16, "attn_implementation": "eager"},
        {"dtype": torch.float32, "experts_implementation": "eager"},
    ):
        loaded = OlmoeForCausalLM.from_pretrained(tmp_path, **options)
        loaded.config.pad_token_id = 5
        loaded.config.use_cache = False
        assert inspect_routers(loaded).fingerprint == fingerprint


def test_float16_changes_the_fingerprint_of_weights_that_it_rounds(model: OlmoeForCausalLM, tmp_path: Path) -> None:
    def loaded(stored: torch.dtype) -> list[str]:
        folder = tmp_path / str(stored)
        copy.deepcopy(model).to(stored).save_pretrained(folder)
        return [
            inspect_routers(OlmoeForCausalLM.from_pretrained(folder, dtype=dtype)).fingerprint
            for dtype in (torch.float32, torch.bfloat16, torch.float16)
        ]

    with torch.no_grad():
        model.model.layers[0].mlp.gate.weight[0, 0] = 129 * 2.0**-25  # bfloat16 holds it, float16 does not
    for stored, changes in ((torch.float32, True), (torch.bfloat16, True), (torch.float16, False)):
        wide, narrow, half = loaded(stored)
        assert wide == narrow
        assert (half != wide) == changes


def test_the_fingerprint_tells_models_apart(model: OlmoeForCausalLM) -> None:
    fingerprint = inspect_routers(model).fingerprint
    assert inspect_routers(tiny_olmoe(seed=1)).fingerprint != fingerprint
    model.config.rope_parameters = {"rope_type": "default", "rope_theta": 500.0}
    assert inspect_routers(model).fingerprint != fingerprint


def test_a_compiled_model_is_inspected_as_the_model_itself(model: OlmoeForCausalLM) -> None:
    compiled: Any = torch.compile(model, backend="eager")
    assert inspect_routers(compiled) == inspect_routers(model)


def test_doge_is_refused_because_its_keys_are_factored() -> None:
    config = DogeConfig(
        vocab_size=32, hidden_size=32, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, is_moe=True, num_experts=16, num_experts_per_tok=2, pad_token_id=0,
    )  # fmt: skip
    with pytest.raises(ModelError, match="doge cannot be steered: it routes with factored keys"):
        inspect_routers(DogeForCausalLM(config))


def test_a_dense_model_is_refused() -> None:
    config = LlamaConfig(
        vocab_size=32, hidden_size=32, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    with pytest.raises(ModelError, match="llama has no routers"):
        inspect_routers(LlamaForCausalLM(config))


def test_a_router_of_two_matrices_is_refused(model: OlmoeForCausalLM) -> None:
    model.model.layers[1].mlp.gate.second = nn.Linear(4, 4)
    with pytest.raises(ModelError, match=r"model\.layers\.1\.mlp\.gate has 2 weight matrices"):
        inspect_routers(model)


def test_routers_of_different_sizes_are_refused(model: OlmoeForCausalLM) -> None:
    model.model.layers[1].mlp.gate.top_k = 4
    with pytest.raises(ModelError, match=r"differ in top_k.*'model.layers.1.mlp.gate': 4"):
        inspect_routers(model)


class Linear4bit(nn.Module):
    """As bitsandbytes leaves a linear layer: the weight packed in bytes, in a class of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(128, 1, dtype=torch.uint8), requires_grad=False)


@pytest.mark.parametrize("layers", [(0, 1, 2), (1,)], ids=["all", "one"])
def test_routers_that_quantisation_replaced_are_refused_with_the_way_out(
    model: OlmoeForCausalLM, layers: tuple[int, ...]
) -> None:
    for layer in layers:
        model.model.layers[layer].mlp.gate = Linear4bit()
    with pytest.raises(ModelError, match=r'llm_int8_skip_modules=\["gate", "lm_head"\]'):
        inspect_routers(model)


def test_offloaded_routers_are_refused_with_the_way_out(model: OlmoeForCausalLM, tmp_path: Path) -> None:
    places = {"model.embed_tokens": "cpu", "model.layers.0": "cpu", "model.layers.1": "disk", "model.layers.2": "cpu"}
    places |= {"model.norm": "cpu", "model.rotary_emb": "cpu", "lm_head": "cpu"}
    dispatch_model(model, places, main_device="cpu", offload_dir=tmp_path)
    for use in (inspect_routers, record):
        with pytest.raises(ModelError, match=r"1 of 3 routers are offloaded .*layers\.1.* load the model on more GPUs"):
            use(model)
