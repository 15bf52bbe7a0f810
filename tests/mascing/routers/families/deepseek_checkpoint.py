"""A tiny DeepSeek-MoE v1 checkpoint, with v1's config and weight names."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import Qwen2MoeForCausalLM

from mascing.models.deepseek_v1 import KEY_MAPPING, native_config, restore_shared_experts

SETTINGS: dict[str, Any] = {
    "model_type": "deepseek",
    "architectures": ["DeepseekForCausalLM"],
    "vocab_size": 64,
    "hidden_size": 64,
    "intermediate_size": 48,
    "moe_intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "n_routed_experts": 8,
    "n_shared_experts": 2,
    "num_experts_per_tok": 2,
    "first_k_dense_replace": 1,
    "moe_layer_freq": 1,
    "norm_topk_prob": False,
    "scoring_func": "softmax",
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000,
    "rope_scaling": None,
    "max_position_embeddings": 64,
    "attention_bias": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "auto_map": {"AutoModelForCausalLM": "modeling_deepseek.DeepseekForCausalLM"},
}


def weights() -> dict[str, Tensor]:
    """A checkpoint with v1's names."""
    generator = torch.Generator().manual_seed(0)

    def matrix(rows: int, columns: int) -> Tensor:
        return torch.randn(rows, columns, generator=generator) * 0.2

    tensors = {"model.embed_tokens.weight": matrix(64, 64), "lm_head.weight": matrix(64, 64)}
    tensors["model.norm.weight"] = 1 + matrix(1, 64)[0]
    for layer in range(3):
        at = f"model.layers.{layer}"
        for norm in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"{at}.{norm}.weight"] = 1 + matrix(1, 64)[0]
        for projection in "qkvo":
            tensors[f"{at}.self_attn.{projection}_proj.weight"] = matrix(64, 64)
        if layer == 0:
            blocks = {"mlp": 48}
        else:
            tensors[f"{at}.mlp.gate.weight"] = matrix(8, 64)
            blocks = {f"mlp.experts.{expert}": 32 for expert in range(8)} | {"mlp.shared_experts": 64}
        for block, width in blocks.items():
            tensors[f"{at}.{block}.gate_proj.weight"] = matrix(width, 64)
            tensors[f"{at}.{block}.up_proj.weight"] = matrix(width, 64)
            tensors[f"{at}.{block}.down_proj.weight"] = matrix(64, width)
    return tensors


def write(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps(SETTINGS))
    save_file(weights(), folder / "model.safetensors", metadata={"format": "pt"})


def load(folder: Path) -> tuple[Any, dict[str, Any]]:
    """The model, and what transformers reports of missing and unexpected weights."""
    config = native_config(json.loads((folder / "config.json").read_text()))
    model, report = Qwen2MoeForCausalLM.from_pretrained(
        folder, config=config, key_mapping=KEY_MAPPING, dtype=torch.float32, output_loading_info=True
    )
    restore_shared_experts(model)
    return model, report
