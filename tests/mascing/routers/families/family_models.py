"""Tiny random models of the real class of every family: 8 experts, top-2, hidden 64, two or three layers."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import transformers

from tests.mascing.routers.families import deepseek_checkpoint

EXPERTS, TOP_K, VOCABULARY = 8, 2, 64
IMPLEMENTATIONS = ("eager", "grouped_mm", "batched_mm")

_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "num_experts_per_tok": TOP_K,
}
_QWEN = {"num_experts": EXPERTS, "moe_intermediate_size": 32, "shared_expert_intermediate_size": 32}
_LOCAL = {"num_local_experts": EXPERTS, "intermediate_size": 32}
_LINEAR_ATTENTION = {
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "layer_types": ["linear_attention", "full_attention"],
}
_LATENT_ATTENTION = {
    "num_key_value_heads": 4,
    "kv_lora_rank": 16,
    "q_lora_rank": 16,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 16,
    "v_head_dim": 16,
}
_DEEPSEEK = {
    "n_routed_experts": EXPERTS,
    "n_shared_experts": 1,
    "moe_intermediate_size": 32,
    "first_k_dense_replace": 1,
    "num_hidden_layers": 3,
    "routed_scaling_factor": 1.5,
}


@dataclass(frozen=True)
class Family:
    """One family's tiny model: its class and what its config differs in."""

    causal_lm: str
    config: str
    fields: dict[str, Any]
    layers: tuple[int, ...] = (0, 1)
    """Depths of its MoE layers."""


FAMILIES: dict[str, Family] = {
    "qwen3_moe": Family(
        "Qwen3MoeForCausalLM", "Qwen3MoeConfig", {**_QWEN, "num_hidden_layers": 3, "mlp_only_layers": [1]}, (0, 2)
    ),
    "qwen2_moe": Family("Qwen2MoeForCausalLM", "Qwen2MoeConfig", _QWEN),
    "qwen3_next": Family("Qwen3NextForCausalLM", "Qwen3NextConfig", {**_QWEN, **_LINEAR_ATTENTION}),
    "qwen3_5_moe": Family("Qwen3_5MoeForCausalLM", "Qwen3_5MoeTextConfig", {**_QWEN, **_LINEAR_ATTENTION}),
    "mixtral": Family("MixtralForCausalLM", "MixtralConfig", _LOCAL),
    "phimoe": Family("PhimoeForCausalLM", "PhimoeConfig", _LOCAL),
    "olmoe": Family("OlmoeForCausalLM", "OlmoeConfig", {"num_experts": EXPERTS, "intermediate_size": 32}),
    "flex_olmo": Family("FlexOlmoForCausalLM", "FlexOlmoConfig", {"num_experts": EXPERTS, "intermediate_size": 32}),
    "gpt_oss": Family("GptOssForCausalLM", "GptOssConfig", _LOCAL),
    "hunyuan_v1_moe": Family(
        "HunYuanMoEV1ForCausalLM",
        "HunYuanMoEV1Config",
        {"num_experts": EXPERTS, "moe_topk": [TOP_K, TOP_K], "intermediate_size": 32},
    ),
    "deepseek_v2": Family(
        "DeepseekV2ForCausalLM",
        "DeepseekV2Config",
        {**_DEEPSEEK, **_LATENT_ATTENTION, "topk_method": "group_limited_greedy", "n_group": 4, "topk_group": 2},
        (1, 2),
    ),
    "deepseek_v3": Family(
        "DeepseekV3ForCausalLM",
        "DeepseekV3Config",
        {**_DEEPSEEK, **_LATENT_ATTENTION, "n_group": 2, "topk_group": 1},
        (1, 2),
    ),
    "glm4_moe": Family("Glm4MoeForCausalLM", "Glm4MoeConfig", {**_DEEPSEEK, "n_group": 1, "topk_group": 1}, (1, 2)),
    "dots1": Family("Dots1ForCausalLM", "Dots1Config", {**_DEEPSEEK, "n_group": 2, "topk_group": 1}, (1, 2)),
    "granitemoe": Family("GraniteMoeForCausalLM", "GraniteMoeConfig", _LOCAL),
    "ernie4_5_moe": Family(
        "Ernie4_5_MoeForCausalLM",
        "Ernie4_5_MoeConfig",
        {"moe_num_experts": EXPERTS, "moe_k": TOP_K, "moe_intermediate_size": 32, "num_hidden_layers": 3},
        (1, 2),
    ),
    "minimax": Family(
        "MiniMaxForCausalLM",
        "MiniMaxConfig",
        {**_LOCAL, "layer_types": ["linear_attention", "full_attention"], "block_size": 8},
    ),
    "minimax_m2": Family("MiniMaxM2ForCausalLM", "MiniMaxM2Config", _LOCAL),
    "llama4_text": Family(
        "Llama4ForCausalLM",
        "Llama4TextConfig",
        {
            **_LOCAL,
            "intermediate_size_mlp": 64,
            "num_hidden_layers": 3,
            "moe_layers": [0, 2],
            "attention_chunk_size": 64,
        },
        (0, 2),
    ),
    "jamba": Family(
        "JambaForCausalLM",
        "JambaConfig",
        {
            "num_experts": EXPERTS,
            "num_hidden_layers": 4,
            "expert_layer_period": 2,
            "expert_layer_offset": 1,
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            "mamba_d_state": 8,
            "mamba_dt_rank": 4,
            "use_mamba_kernels": False,
        },
        (1, 3),
    ),
    "dbrx": Family(
        "DbrxForCausalLM",
        "DbrxConfig",
        {
            "attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 10000.0},
            "ffn_config": {
                "hidden_size": 64,
                "ffn_hidden_size": 32,
                "moe_num_experts": EXPERTS,
                "moe_top_k": TOP_K,
                "ffn_act_fn": {"name": "silu"},
            },
        },
    ),
    "gemma4_text": Family(
        "Gemma4ForCausalLM",
        "Gemma4TextConfig",
        {
            "enable_moe_block": True,
            "num_experts": EXPERTS,
            "top_k_experts": TOP_K,
            "moe_intermediate_size": 32,
            "hidden_size_per_layer_input": 0,
            "global_head_dim": 16,
            "layer_types": ["sliding_attention", "full_attention"],
        },
    ),
    "longcat_flash": Family(
        "LongcatFlashForCausalLM",
        "LongcatFlashConfig",
        {
            **_LATENT_ATTENTION,
            "n_routed_experts": EXPERTS,
            "zero_expert_num": 4,
            "moe_topk": TOP_K,
            "expert_ffn_hidden_size": 32,
            "num_layers": 2,
            "routed_scaling_factor": 1.5,
        },
    ),
    "inkling_text": Family(
        "InklingForCausalLM",
        "InklingTextConfig",
        {
            "n_routed_experts": EXPERTS,
            "n_shared_experts": 2,
            "moe_intermediate_size": 32,
            "swa_num_attention_heads": 4,
            "swa_num_key_value_heads": 2,
            "swa_head_dim": 16,
            "d_rel": 8,
            "rel_extent": 16,
            "layer_types": ["hybrid", "hybrid_sliding"],
        },
    ),
    "axk2": Family(
        "AXK2ForCausalLM",
        "AXK2Config",
        {
            **_DEEPSEEK,
            **_LATENT_ATTENTION,
            "n_group": 2,
            "topk_group": 1,
            "mlp_layer_types": ["dense", "sparse", "sparse"],
            "index_topk": 64,
            "index_head_dim": 16,
            "index_n_heads": 2,
            "gated_norm_rank": 8,
        },
        (1, 2),
    ),
    "mistral4": Family(
        "Mistral4ForCausalLM",
        "Mistral4Config",
        {**_DEEPSEEK, **_LATENT_ATTENTION, "head_dim": 32, "n_group": 2, "topk_group": 1},
        (1, 2),
    ),
    "lfm2_moe": Family(
        "Lfm2MoeForCausalLM",
        "Lfm2MoeConfig",
        {
            "num_experts": EXPERTS,
            "moe_intermediate_size": 32,
            "num_dense_layers": 1,
            "num_hidden_layers": 3,
            "layer_types": ["conv", "full_attention", "conv"],
        },
        (1, 2),
    ),
    "deepseek": Family("Qwen2MoeForCausalLM", "", {}, (1, 2)),
}


def build(name: str, dtype: torch.dtype = torch.float32) -> Any:
    """A model of the family with random weights, correction biases included, in eval mode."""
    if name == "deepseek":
        return _deepseek_v1().to(dtype)
    family = FAMILIES[name]
    sizes = {**_SIZES, **family.fields}
    if name == "dbrx":
        renamed = {"hidden_size": "d_model", "num_hidden_layers": "n_layers", "num_attention_heads": "n_heads"}
        sizes = {renamed.get(key, key): value for key, value in sizes.items()}
    if name in ("hunyuan_v1_moe", "ernie4_5_moe", "gemma4_text", "longcat_flash"):
        del sizes["num_experts_per_tok"]
    if name == "longcat_flash":
        del sizes["num_hidden_layers"]  # twice num_layers: each has two attentions
    config = getattr(transformers, family.config)(**sizes)
    torch.manual_seed(0)
    model = getattr(transformers, family.causal_lm)._from_config(config).eval()
    _randomise(model)
    return model.to(dtype)


def _deepseek_v1() -> Any:
    with TemporaryDirectory() as folder:
        deepseek_checkpoint.write(Path(folder))
        return deepseek_checkpoint.load(Path(folder))[0].eval()


def _randomise(model: torch.nn.Module) -> None:
    for name, buffer in model.named_buffers():
        if "correction_bias" in name or "expert_bias" in name:
            buffer.uniform_(-0.2, 0.2)
    for name, tensor in model.named_parameters():
        if "correction_bias" in name or name.endswith("router.bias"):
            tensor.data.uniform_(-0.2, 0.2)
        elif ("gate.weight" in name or "router" in name or "wg" in name) and tensor.dim() == 2:
            tensor.data.normal_(std=0.3)
        elif tensor.dim() > 1 and tensor.is_floating_point() and "conv" not in name and "A_log" not in name:
            tensor.data.normal_(std=0.15)
