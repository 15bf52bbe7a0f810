"""A tiny random OLMoE with a byte-level tokenizer and a chat template, in memory and as an ordinary model folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import OlmoeConfig, OlmoeForCausalLM, PreTrainedTokenizerFast

from mascing.models.loading import Loaded
from mascing.schemas.conversation import Conversation, Label, Message

SPECIAL = ["<pad>", "<|im_start|>", "<|im_end|>"]
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tokenizer(template: str | None = CHATML, added: Sequence[str] = ()) -> Any:
    """One token per byte, so that a character offset is a token offset in ASCII text; ``added`` are special tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: number for number, token in enumerate([*SPECIAL, *alphabet, *added])}
    bytes_alone = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    bytes_alone.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bytes_alone.decoder = decoders.ByteLevel()
    bytes_alone.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in (*SPECIAL, *added)])
    fast: Any = PreTrainedTokenizerFast
    wrapped = fast(tokenizer_object=bytes_alone, pad_token="<pad>", eos_token="<|im_end|>")
    wrapped.chat_template = template
    return wrapped


def model(**changes: Any) -> Any:
    """3 MoE layers, 8 experts, top 2."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "vocab_size": 300,
        "hidden_size": 32,
        "intermediate_size": 16,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "num_experts": 8,
        "num_experts_per_tok": 2,
        "max_position_embeddings": 512,
        "pad_token_id": 0,
        "initializer_range": 0.3,
    }
    olmoe: Any = OlmoeForCausalLM
    return olmoe(OlmoeConfig(**(sizes | changes))).eval()


def loaded(**changes: Any) -> Loaded:
    return Loaded(model(**changes), tokenizer())


def save(folder: Path, **changes: Any) -> Path:
    """Write an ordinary model folder."""
    model(**changes).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def conversation(name: str, *texts: str, label: Label | None = "positive", system: str | None = None) -> Conversation:
    """A conversation of alternating user and assistant texts."""
    roles = ("user", "assistant")
    messages = [Message(role=roles[i % 2], content=text) for i, text in enumerate(texts)]  # type: ignore[arg-type]
    if system is not None:
        messages.insert(0, Message(role="system", content=system))
    return Conversation(id=name, group_id=f"group-{name}", label=label, messages=tuple(messages))
