"""Quantised checkpoints: loaded, recorded, and equal to a plain checkpoint of the weights that they stand for."""

import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import GptOssConfig, GptOssForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM

from mascing.errors import ModelError
from mascing.models import model_folder
from mascing.models.loading import load
from mascing.schemas.config import ModelConfig
from mascing.traces.batch_recording import harvest
from tests.mascing.olmoe_folder import conversation, tokenizer

Weights = dict[str, Tensor]

loads_fp8 = pytest.mark.skipif(version("transformers").startswith("5.16."), reason="transformers 5.16 loads no FP8")

FP4 = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])


def qwen3_moe() -> Any:
    sizes: dict[str, Any] = {"moe_intermediate_size": 16, "num_experts": 4, "num_experts_per_tok": 2, "head_dim": 16}
    build: Any = Qwen3MoeForCausalLM
    return build(Qwen3MoeConfig(**shape(hidden_size=32, intermediate_size=32), **sizes))


def gpt_oss() -> Any:
    sizes: dict[str, Any] = {"num_local_experts": 4, "num_experts_per_tok": 2, "head_dim": 32}
    build: Any = GptOssForCausalLM
    layers = ["full_attention", "full_attention"]
    return build(GptOssConfig(**shape(hidden_size=64, intermediate_size=32), **sizes, layer_types=layers))


def shape(**sizes: int) -> dict[str, Any]:
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2}
    return {"vocab_size": 300, "num_hidden_layers": 2, "pad_token_id": 0, "initializer_range": 0.2, **heads, **sizes}


def fp8(weights: Weights) -> tuple[Weights, Weights]:
    """Blocks of 16 x 16 with one scale each."""
    stored, plain = {}, {}
    for number, (name, weight) in enumerate(weights.items()):
        if "proj" not in name:
            stored[name] = plain[name] = weight.bfloat16()
            continue
        scale = torch.full((weight.shape[0] // 16, weight.shape[1] // 16), 2.0 ** -(3 + number % 3))
        spread = scale.repeat_interleave(16, 0).repeat_interleave(16, 1)
        stored[name] = (weight / spread).to(torch.float8_e4m3fn)
        stored[name + "_scale_inv"] = scale
        plain[name] = (stored[name].float() * spread).bfloat16()
    return stored, plain


def mxfp4(weights: Weights) -> tuple[Weights, Weights]:
    """Blocks of 32 inputs: two 4-bit floats a byte, low half first, and a power of two as scale."""
    stored, plain = {}, {}
    draw = torch.Generator().manual_seed(0)
    for name, weight in weights.items():
        if not name.endswith(("gate_up_proj", "down_proj")):
            stored[name] = plain[name] = weight.bfloat16()
            continue
        n_experts, n_in, n_out = weight.shape
        blocks = torch.randint(0, 256, (n_experts, n_out, n_in // 32, 16), dtype=torch.uint8, generator=draw)
        scales = torch.randint(121, 125, blocks.shape[:-1], dtype=torch.uint8, generator=draw)
        values = FP4[torch.stack([blocks & 15, blocks >> 4], -1).long()].flatten(-2)
        values = values * torch.pow(2.0, scales.float() - 127)[..., None]
        stored |= {name + "_blocks": blocks, name + "_scales": scales}
        plain[name] = values.flatten(-2).transpose(1, 2).contiguous().bfloat16()
    return stored, plain


FP8_CONFIG = {
    "quant_method": "fp8",
    "activation_scheme": "dynamic",
    "weight_block_size": [16, 16],
    "modules_to_not_convert": ["lm_head", "model.layers.0.mlp.gate", "model.layers.1.mlp.gate"],
}
MXFP4_CONFIG = {
    "quant_method": "mxfp4",
    "modules_to_not_convert": ["model.layers.*.self_attn", "model.layers.*.mlp.router", "lm_head"],
}


def write(folder: Path, model: Any, weights: Weights, **settings: Any) -> ModelConfig:
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"dtype": "bfloat16"} | settings))
    return ModelConfig(path=str(folder))


@pytest.mark.parametrize(
    ("build", "quantise", "settings"),
    [pytest.param(qwen3_moe, fp8, FP8_CONFIG, marks=loads_fp8), (gpt_oss, mxfp4, MXFP4_CONFIG)],
)
def test_a_quantised_checkpoint_records_what_its_weights_stand_for(
    build: Callable[[], Any],
    quantise: Callable[[Weights], tuple[Weights, Weights]],
    settings: dict[str, Any],
    tmp_path: Path,
) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = build()
    model.save_pretrained(tmp_path)
    stored, plain = quantise(load_file(tmp_path / "model.safetensors"))
    chats = [conversation("a", "hello there"), conversation("b", "and now?")]
    quantised = harvest(load(write(tmp_path / "q", model, stored, quantization_config=settings)), chats, 200)
    expected = harvest(load(write(tmp_path / "p", model, plain)), chats, 200)
    for row, wanted in zip(quantised, expected, strict=True):
        assert torch.allclose(row.z, wanted.z, atol=1e-2, rtol=1e-2)
        assert float(wanted.z.float().std()) > 0.1


def test_fp8_is_refused_where_transformers_cannot_load_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = qwen3_moe()
    checkpoint = write(tmp_path, model, model.state_dict(), quantization_config=FP8_CONFIG)
    monkeypatch.setattr(model_folder, "version", lambda _: "5.16.1")
    with pytest.raises(ModelError, match=r"5\.16 cannot load: install 5\.17 or newer"):
        load(checkpoint)
