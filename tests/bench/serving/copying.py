"""A small model whose replies end by themselves, at lengths that prompts do not tell: it copies what precedes a bar.

All prompts are of one length, and the text that is copied is of any, so that batches by length of prompt hold short
replies and long ones, as with trained models. A random model loops, and its replies run to the limit.
"""

import random
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import torch

from mascing.schemas.conversation import Conversation
from tests.mascing import olmoe_folder

LETTERS = 100
"""Of the copied text and what follows it together."""
_MEAN = 20
_ROWS, _LEAST_LOSS, _STEPS = 24, 0.02, 600
_SIZES: dict[str, Any] = {
    "hidden_size": 128,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "num_experts": 8,
    "num_hidden_layers": 3,
    "max_position_embeddings": 1024,
    "initializer_range": 0.05,
}


def texts(draw: random.Random) -> tuple[str, str]:
    """What is to be copied, at lengths with an exponential distribution, and what follows it."""
    copied = min(LETTERS - 5, 3 + int(draw.expovariate(1 / _MEAN)))
    letters = "".join(draw.choices(ascii_lowercase, k=LETTERS))
    return letters[:copied], letters[copied:]


def conversations(n: int, draw: random.Random) -> list[Conversation]:
    """Requests to copy."""
    return [olmoe_folder.conversation(f"c{number}", "|".join(texts(draw)), label=None) for number in range(n)]


def save(folder: Path) -> Path:
    """Train the model, which takes some minutes on a CPU, and write its folder."""
    model, tokenizer, draw = olmoe_folder.model(**_SIZES).train(), olmoe_folder.tokenizer(), random.Random(0)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.98), weight_decay=0.0)
    for step in range(_STEPS):
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * min(1.0, (step + 1) / 60)
        ids_BT, labels_BT = _batch(tokenizer, draw)
        loss = model(input_ids=ids_BT, labels=labels_BT).loss
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        if loss.item() < _LEAST_LOSS:
            break
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _batch(tokenizer: Any, draw: random.Random) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and labels [B, T] of requests with their copies; labels are of the replies alone."""
    rows = []
    for _ in range(_ROWS):
        copied, others = texts(draw)
        turns = [{"role": "user", "content": f"{copied}|{others}"}]
        prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        rows.append([tokenizer(text, add_special_tokens=False).input_ids for text in (prompt, f"{copied}<|im_end|>")])
    length = max(len(prompt) + len(reply) for prompt, reply in rows)
    ids = [prompt + reply + [0] * (length - len(prompt) - len(reply)) for prompt, reply in rows]
    labels = [[-100] * len(prompt) + reply + [-100] * (length - len(prompt) - len(reply)) for prompt, reply in rows]
    return torch.tensor(ids), torch.tensor(labels)
