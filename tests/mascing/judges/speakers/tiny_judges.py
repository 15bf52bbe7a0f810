"""Tiny models with random weights, as folders: a language model that could judge, and a classifier."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
)

CONTEXT = 512
TEMPLATE = (
    "{% for m in messages %}<|start|>{{ m['role'] }}: {{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|start|>judge: {% endif %}"
)
PARTS_TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'][0]['text'] }}<|end|>{% endfor %}"
BLIND_TEMPLATE = "{{ messages[0]['content'] }}<|end|>"


def tokenizer(template: str | None = TEMPLATE) -> Any:
    """One token for each byte, and the marks of turns."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    plain = Tokenizer(models.BPE({letter: number for number, letter in enumerate(alphabet)}, []))
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(
        tokenizer_object=plain, bos_token="<|start|>", eos_token="<|end|>", pad_token="<|end|>"
    )
    made.chat_template = template
    return made


def causal(folder: Path, template: str | None = TEMPLATE, seed: int = 0) -> Path:
    """A language model."""
    return _saved(LlamaForCausalLM, folder, tokenizer(template), seed)


def classifier(folder: Path, seed: int = 0, **fields: Any) -> Path:
    """A classifier of three labels."""
    labels = {0: "fine", 1: "rude", 2: "odd"}
    return _saved(LlamaForSequenceClassification, folder, tokenizer(None), seed, id2label=labels, **fields)


def _saved(kind: Any, folder: Path, words: Any, seed: int, **fields: Any) -> Path:
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
        initializer_range=0.5,
        **fields,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        kind(config).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder
