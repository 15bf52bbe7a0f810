"""Load DeepSeek-MoE v1 (``model_type: deepseek``, deepseek-moe-16b) natively, as a ``qwen2_moe`` model with equal
outputs.

The checkpoint's own code does not run on transformers 5, and one of its failures is silent. The architectures differ
only in the shared experts: Qwen2-MoE multiplies their output by a sigmoid gate. A gate with zero weights gives exactly
one half, so loading doubles the output projection of the shared experts, which is exact in every floating dtype.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from mascing.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, Qwen2MoeConfig

MODEL_TYPE = "deepseek"
KEY_MAPPING = {r"\.shared_experts\.": ".shared_expert."}
"""Argument ``key_mapping`` of ``from_pretrained``."""
ADDED = "shared_expert_gate.weight"
"""Suffix of the names of the weights that Qwen2-MoE adds and the checkpoint lacks."""


def native_config(settings: Mapping[str, Any]) -> "Qwen2MoeConfig":
    """The Qwen2-MoE config that equals a v1 ``config.json``; pass it to ``from_pretrained`` with :data:`KEY_MAPPING`.

    Raises ModelError for a v1 variant that Qwen2-MoE cannot express.
    """
    from transformers import Qwen2MoeConfig

    for field, wanted in (("scoring_func", "softmax"), ("moe_layer_freq", 1), ("hidden_act", "silu")):
        if settings.get(field, wanted) != wanted:
            raise ModelError(f"a deepseek checkpoint with {field} = {settings[field]!r} cannot be loaded natively")
    if settings.get("attention_bias"):
        raise ModelError("a deepseek checkpoint with attention_bias cannot be loaded natively")
    common = {name: value for name, value in settings.items() if name in _COMMON_FIELDS}
    return Qwen2MoeConfig(
        **common,
        num_experts=settings["n_routed_experts"],
        shared_expert_intermediate_size=settings["n_shared_experts"] * settings["moe_intermediate_size"],
        mlp_only_layers=list(range(settings["first_k_dense_replace"])),
        qkv_bias=False,
    )


def restore_shared_experts(model: "PreTrainedModel") -> None:
    """Undo Qwen2-MoE's gate, in place, in a model just loaded with :func:`native_config`. Call it only once."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(ADDED):
                parameter.zero_()
            elif name.endswith("shared_expert.down_proj.weight"):
                parameter.mul_(2)


_COMMON_FIELDS = frozenset(
    {
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "moe_intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "num_experts_per_tok",
        "norm_topk_prob",
        "max_position_embeddings",
        "rms_norm_eps",
        "rope_theta",
        "rope_scaling",
        "tie_word_embeddings",
        "bos_token_id",
        "eos_token_id",
        "pad_token_id",
        "initializer_range",
    }
)
