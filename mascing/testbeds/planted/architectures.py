"""The untrained model of each level: one family of routers each."""

from typing import Any

from transformers import (
    AutoModelForCausalLM,
    GenerationConfig,
    Glm4MoeConfig,
    GraniteMoeConfig,
    OlmoeConfig,
    PreTrainedConfig,
    PreTrainedModel,
)

from mascing.testbeds.planted.circuit import N_EXPERTS, N_GROUPS
from mascing.testbeds.planted.levels import Level
from mascing.testbeds.planted.tokenizer import END, PAD, vocabulary

MAX_TOKENS = 256
_HEADS, _HIDDEN, _EXPERT = 4, 64, 32


def fresh_model(level: Level) -> PreTrainedModel:
    """Build the level's model with weights from torch's global generator."""
    ids = vocabulary(level)
    # Measured on one core: these two implementations are the fastest for short rows without padding.
    model: PreTrainedModel = AutoModelForCausalLM.from_config(
        _CONFIGS[level.family](level, ids), attn_implementation="eager", experts_implementation="grouped_mm"
    )
    model.generation_config = GenerationConfig(
        do_sample=False, max_new_tokens=16, eos_token_id=ids[END], pad_token_id=ids[PAD]
    )
    return model


def _common(level: Level, ids: dict[str, int]) -> dict[str, Any]:
    return {
        "vocab_size": len(ids),
        "hidden_size": _HIDDEN,
        "num_hidden_layers": level.n_layers,
        "num_attention_heads": _HEADS,
        "num_key_value_heads": _HEADS,
        "num_experts_per_tok": level.top_k,
        "max_position_embeddings": MAX_TOKENS,
        "initializer_range": 0.05,
        "bos_token_id": None,
        "eos_token_id": ids[END],
        "pad_token_id": ids[PAD],
    }


def _olmoe(level: Level, ids: dict[str, int]) -> PreTrainedConfig:
    """Softmax, then top-k."""
    return OlmoeConfig(**_common(level, ids), intermediate_size=_EXPERT, num_experts=N_EXPERTS)


def _granitemoe(level: Level, ids: dict[str, int]) -> PreTrainedConfig:
    """Top-k, then softmax over the selected experts."""
    return GraniteMoeConfig(
        **_common(level, ids),
        intermediate_size=_EXPERT,
        num_local_experts=N_EXPERTS,
        attention_multiplier=(_HIDDEN / _HEADS) ** -0.5,
    )


def _glm4_moe(level: Level, ids: dict[str, int]) -> PreTrainedConfig:
    """Sigmoid with a correction, then groups, then top-k; behind one dense layer, and beside a shared expert."""
    return Glm4MoeConfig(
        **{**_common(level, ids), "num_hidden_layers": level.n_layers + 1},
        head_dim=_HIDDEN // _HEADS,
        intermediate_size=_EXPERT,
        moe_intermediate_size=_EXPERT,
        first_k_dense_replace=1,
        n_routed_experts=N_EXPERTS,
        n_shared_experts=1,
        n_group=N_GROUPS,
        topk_group=N_GROUPS // 2,
        norm_topk_prob=True,
        routed_scaling_factor=2.5,
    )


_CONFIGS = {"olmoe": _olmoe, "granitemoe": _granitemoe, "glm4_moe": _glm4_moe}
