"""A random MoE of about 50M parameters, and prompts of mixed length: median 100 tokens, with a tail up to 800."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

from mascing.conversations.chat import Prompt

VOCABULARY = 32_000
CLOSING_TOKENS = 8


def random_moe() -> Any:
    """8 MoE layers of 32 experts, top 4, hidden 256; float32."""
    torch.manual_seed(0)
    build: Any = Qwen3MoeForCausalLM
    config: Any = Qwen3MoeConfig(
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=512,
        moe_intermediate_size=160,
        num_hidden_layers=8,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=64,
        num_experts=32,
        num_experts_per_tok=4,
        max_position_embeddings=2048,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        initializer_range=0.1,
    )
    return build(config).eval()


def mixed_prompts(n: int, seed: int = 0) -> list[Prompt]:
    """Prompts of random ids; all tokens but the closing ones belong to the question."""
    draw = torch.Generator().manual_seed(seed)
    lengths = (100 * torch.exp(0.8 * torch.randn(n, generator=draw))).long().clamp(16, 800).tolist()
    return [_prompt(f"p{index}", length, draw) for index, length in enumerate(lengths)]


def n_tokens(prompts: Sequence[Prompt]) -> int:
    """Real tokens, without padding."""
    return sum(len(prompt.token_ids) for prompt in prompts)


def _prompt(name: str, length: int, draw: torch.Generator) -> Prompt:
    ids = torch.randint(3, VOCABULARY, (length,), generator=draw).tolist()
    border = length - CLOSING_TOKENS
    return Prompt(conversation_id=name, token_ids=tuple(ids), question=(0, border), prompt=(border, length))
