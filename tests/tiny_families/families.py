"""What the three families differ in: classes, marks, and how a thought stands before a reply."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

Family = Literal["qwen3_moe", "gpt_oss", "deepseek_v3"]
EXPERTS, TOP_K = 8, 2

_LAYOUTS = Path(__file__).parents[1] / "layouts"
_MERGES = 400
_SIZES: dict[str, Any] = {
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "head_dim": 12,
    "max_position_embeddings": 512,
    "num_experts_per_tok": TOP_K,
    "initializer_range": 0.05,
    "tie_word_embeddings": True,
}


@dataclass(frozen=True)
class Make:
    """How a family's tiny checkpoint is made."""

    causal_lm: str
    config: str
    fields: dict[str, Any]
    layout: str
    special: tuple[str, ...]
    """Marks that are dropped in decoding; the first ends a turn, the second pads."""
    plain: tuple[str, ...]
    """Marks that are tokens of their own and stay in decoding."""
    thinking: str
    """What the model writes after the generation prompt, with the fields ``thought`` and ``reply``."""


MAKES: dict[Family, Make] = {
    "qwen3_moe": Make(
        "Qwen3MoeForCausalLM",
        "Qwen3MoeConfig",
        {"num_experts": EXPERTS, "moe_intermediate_size": 32, "intermediate_size": 64},
        "qwen3",
        ("<|im_end|>", "<|endoftext|>", "<|im_start|>"),
        ("<think>", "</think>"),
        "<think>\n{thought}\n</think>\n\n{reply}<|im_end|>",
    ),
    "gpt_oss": Make(
        "GptOssForCausalLM",
        "GptOssConfig",
        {
            "num_local_experts": EXPERTS,
            "intermediate_size": 32,
            "layer_types": ["full_attention"] * 2,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
            "initializer_range": 0.15,
        },
        "gpt_oss",
        ("<|return|>", "<|endoftext|>", "<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|call|>"),
        (),
        "<|channel|>analysis<|message|>{thought}<|end|><|start|>assistant<|channel|>final<|message|>{reply}<|return|>",
    ),
    "deepseek_v3": Make(
        "DeepseekV3ForCausalLM",
        "DeepseekV3Config",
        {
            "n_routed_experts": EXPERTS,
            "n_shared_experts": 1,
            "moe_intermediate_size": 32,
            "intermediate_size": 64,
            "first_k_dense_replace": 1,
            "num_hidden_layers": 3,
            "routed_scaling_factor": 1.0,
            "n_group": 1,
            "topk_group": 1,
            "kv_lora_rank": 24,
            "q_lora_rank": 24,
            "qk_nope_head_dim": 12,
            "qk_rope_head_dim": 12,
            "v_head_dim": 12,
        },
        "deepseek_v3",
        ("<｜end▁of▁sentence｜>", "<｜▁pad▁｜>", "<｜begin▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"),
        ("<think>", "</think>"),
        "{thought}\n</think>\n\n{reply}<｜end▁of▁sentence｜>",
    ),
}


def tokenizer(family: Family, texts: list[str]) -> Any:
    """A byte-level tokenizer with the family's marks and layout; words that are frequent in the texts are one token."""
    make = MAKES[family]
    bare = Tokenizer(models.BPE())
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bare.decoder = decoders.ByteLevel()
    bare.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in make.special])
    bare.add_tokens([AddedToken(mark, special=False, normalized=False) for mark in make.plain])
    trainer = trainers.BpeTrainer(
        vocab_size=256 + _MERGES, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    bare.train_from_iterator(texts, trainer)
    fast: Any = PreTrainedTokenizerFast
    wrapped = fast(
        tokenizer_object=bare,
        eos_token=make.special[0],
        pad_token=make.special[1],
        bos_token=make.special[2],
        clean_up_tokenization_spaces=False,
    )
    wrapped.chat_template = (_LAYOUTS / f"{make.layout}.jinja").read_text(encoding="utf-8")
    return wrapped


def untrained(family: Family, tokenizer: Any) -> Any:
    """A model of the family's own class with random weights."""
    make = MAKES[family]
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    sizes = {**_SIZES, **make.fields, **ends, "bos_token_id": None, "vocab_size": len(tokenizer)}
    config = getattr(transformers, make.config)(**sizes)
    return getattr(transformers, make.causal_lm)._from_config(config, attn_implementation="eager")
