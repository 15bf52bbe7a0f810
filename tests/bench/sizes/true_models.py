"""The models whose sizes are told: the numbers of their published config.json files, built on any device."""

from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    GptOssConfig,
    GptOssForCausalLM,
    HunYuanMoEV1Config,
    HunYuanMoEV1ForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

TINY = {
    "vocab_size": 32_000,
    "hidden_size": 64,
    "intermediate_size": 256,
    "moe_intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
}
"""In place of the true numbers, to try a script out on a CPU."""


@dataclass(frozen=True)
class TrueModel:
    """A model on the hub: its classes, the sizes in its config.json, and the billions of parameters on its page."""

    name: str
    model_class: Any
    config_class: Any
    sizes: dict[str, Any]
    parameters: float
    active: float

    def build(self, device: str, dtype: torch.dtype = torch.bfloat16, **changes: Any) -> Any:
        """The model with random weights, in evaluation mode and frozen; on ``meta`` it takes no memory."""
        settings = self.config_class(**(self.sizes | changes), pad_token_id=0, bos_token_id=1, eos_token_id=2)
        # How transformers runs experts on a GPU by default.
        settings._experts_implementation = "grouped_mm"
        before = torch.get_default_dtype()
        torch.set_default_dtype(dtype)  # a float32 copy would be twice as large
        try:
            with torch.device(device):
                model = self.model_class(settings)
        finally:
            torch.set_default_dtype(before)
        return model.eval().requires_grad_(False)

    def tiny(self) -> dict[str, Any]:
        """The changes that make the model tiny."""
        return {name: value for name, value in TINY.items() if name in self.sizes}


QWEN3_30B_A3B = TrueModel(
    "Qwen3-30B-A3B",
    Qwen3MoeForCausalLM,
    Qwen3MoeConfig,
    {
        "vocab_size": 151_936,
        "hidden_size": 2048,
        "intermediate_size": 6144,
        "moe_intermediate_size": 768,
        "num_hidden_layers": 48,
        "num_attention_heads": 32,
        "num_key_value_heads": 4,
        "head_dim": 128,
        "num_experts": 128,
        "num_experts_per_tok": 8,
        "norm_topk_prob": True,
        "max_position_embeddings": 40_960,
    },
    parameters=30.5,
    active=3.3,
)
GPT_OSS_20B = TrueModel(
    "gpt-oss-20b",
    GptOssForCausalLM,
    GptOssConfig,
    {
        "vocab_size": 201_088,
        "hidden_size": 2880,
        "intermediate_size": 2880,
        "num_hidden_layers": 24,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "num_local_experts": 32,
        "num_experts_per_tok": 4,
        "sliding_window": 128,
    },
    parameters=20.9,
    active=3.6,
)
MIXTRAL_8X7B = TrueModel(
    "Mixtral-8x7B",
    MixtralForCausalLM,
    MixtralConfig,
    {
        "vocab_size": 32_000,
        "hidden_size": 4096,
        "intermediate_size": 14_336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "num_local_experts": 8,
        "num_experts_per_tok": 2,
        "max_position_embeddings": 32_768,
    },
    parameters=46.7,
    active=12.9,
)
HUNYUAN_A13B = TrueModel(
    "Hunyuan-A13B",
    HunYuanMoEV1ForCausalLM,
    HunYuanMoEV1Config,
    {
        "vocab_size": 128_167,
        "hidden_size": 4096,
        "intermediate_size": 3072,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "num_experts": 64,
        "moe_topk": 8,
        "tie_word_embeddings": True,
        "max_position_embeddings": 32_768,
    },
    parameters=80,
    active=13,
)
MODELS = (QWEN3_30B_A3B, GPT_OSS_20B, MIXTRAL_8X7B, HUNYUAN_A13B)
