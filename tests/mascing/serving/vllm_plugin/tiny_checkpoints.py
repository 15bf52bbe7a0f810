"""Tiny checkpoints of ten families that transformers and vLLM both load on a CPU, and what vLLM needs to be told."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from tests.mascing.olmoe_folder import tokenizer
from tests.mascing.routers.families.family_models import FAMILIES, build

PROMPTS = [[5, 6, 7, 8], list(range(20, 60)), [100, 3, 250, 44, 44, 44, 9]]
"""What each of them is asked, as token ids."""

ENGINE_ARGS: dict[str, Any] = {
    "dtype": "float32",
    "enforce_eager": True,
    "distributed_executor_backend": "uni",
    "max_model_len": 256,
    "max_num_seqs": 8,
    "max_num_batched_tokens": 256,
    "kv_cache_memory_bytes": 64 << 20,
}
"""Small enough for one family after another in one process."""

# The byte-level tokenizer has 259 tokens; attention on CPUs has no kernel for heads below 32.
_SIZES = {"vocab_size": 300, "num_attention_heads": 2, "head_dim": 32, "max_position_embeddings": 256}
# The one size of vLLM's latent attention on CPUs: 512 + 64.
_LATENT_ATTENTION = {"num_key_value_heads": 2, "head_dim": 64, "kv_lora_rank": 512, "qk_rope_head_dim": 64}
_CORRECTED = {"topk_method": "noaux_tc", "scoring_func": "sigmoid"}


@dataclass(frozen=True)
class Served:
    """What differs from the family's tiny model in ``family_models``."""

    fields: dict[str, Any] = field(default_factory=dict)
    """Of the config that the model is built from."""
    told: dict[str, Any] = field(default_factory=dict)
    """Added to ``config.json``: fields of the original checkpoints that transformers does not read and vLLM does."""
    engine_args: dict[str, Any] = field(default_factory=dict)


# vLLM's own kernels for CPUs compute latent attention wrongly after the first position.
_PLAIN_KERNELS = {"compilation_config": {"custom_ops": ["none"]}}

SERVED: dict[str, Served] = {
    # The tiny model of the family says a size that its class in transformers has no shared expert for.
    "qwen3_moe": Served({"shared_expert_intermediate_size": 0}),
    "qwen2_moe": Served(),
    "mixtral": Served(),
    "olmoe": Served(),
    # Biases as in the original checkpoints: vLLM makes them in any case, and leaves them unset where there are none.
    "phimoe": Served({"attention_bias": True, "lm_head_bias": True}, {"architectures": ["PhiMoEForCausalLM"]}),
    "gpt_oss": Served(),
    "hunyuan_v1_moe": Served(),
    "deepseek_v2": Served(_LATENT_ATTENTION, engine_args=_PLAIN_KERNELS),
    "deepseek_v3": Served(_LATENT_ATTENTION, _CORRECTED, _PLAIN_KERNELS),
    "glm4_moe": Served(),
}

ARCHITECTURES = tuple(
    served.told.get("architectures", [FAMILIES[name].causal_lm])[0] for name, served in SERVED.items()
)
"""What vLLM calls their classes."""


def save(family: str, folder: Path) -> Path:
    """Write the family's model folder, with random weights and correction biases and the byte-level tokenizer."""
    served = SERVED[family]
    model = build(family, **(_SIZES | served.fields))
    if model.lm_head.bias is not None:  # phimoe's, which vLLM does not read
        torch.nn.init.zeros_(model.lm_head.bias)
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    config = folder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | served.told, indent=2), encoding="utf-8")
    return folder


def engine_args(family: str, folder: Path) -> dict[str, Any]:
    """The arguments of ``vllm.LLM`` for a folder that :func:`save` wrote."""
    return {"model": str(folder), **ENGINE_ARGS, **SERVED[family].engine_args}
