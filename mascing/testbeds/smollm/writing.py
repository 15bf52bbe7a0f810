"""The calibration text of the split, written by the dense model itself, and the text for measurements.

Shape suffixes: B row of text, T token.
"""

import random
from collections.abc import Callable
from importlib.resources import files

import torch
from torch import Tensor

from mascing.models.loading import Loaded
from mascing.testbeds.smollm.prompts import prompts

ROW, ROWS = 128, 72
"""Tokens per calibration row, and the maximum number of rows."""
_REPLY, _BATCH, _TOP_P = 128, 60, 0.95


@torch.inference_mode()
def written(loaded: Loaded, seed: int, progress: Callable[[int, int], None] | None = None) -> Tensor:
    """Let the model write conversations, and return them as rows [B, ROW] of token ids without padding.

    The same seed gives the same text on the same machine. ``progress(done, total)`` counts conversations.
    """
    requests, conversations = prompts(), []
    end = loaded.tokenizer.eos_token_id
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for start in range(0, len(requests), _BATCH):
            conversations += _continued(loaded, requests[start : start + _BATCH], end)
            if progress is not None:
                progress(len(conversations), len(requests))
    random.Random(seed).shuffle(conversations)
    stream = torch.tensor([token for conversation in conversations for token in conversation])
    return stream[: min(ROWS, len(stream) // ROW) * ROW].view(-1, ROW)


def prose(loaded: Loaded, row: int = 256) -> Tensor:
    """Return English prose written for the project, as rows [B, row] of token ids."""
    text = files("mascing.testbeds.smollm").joinpath("prose.txt").read_text(encoding="utf-8")
    ids = torch.tensor(loaded.tokenizer(text, add_special_tokens=False)["input_ids"])
    return ids[: len(ids) // row * row].view(-1, row)


def _continued(loaded: Loaded, requests: list[str], end: int) -> list[list[int]]:
    """Return each prompt's tokens with the sampled reply, up to the reply's end."""
    rendered = [
        loaded.tokenizer.apply_chat_template(
            [{"role": "user", "content": request}], tokenize=False, add_generation_prompt=True
        )
        for request in requests
    ]
    inputs = loaded.tokenizer(
        rendered, add_special_tokens=False, padding=True, padding_side="left", return_tensors="pt"
    )
    output_BT = loaded.model.generate(
        **inputs, max_new_tokens=_REPLY, do_sample=True, temperature=1.0, top_k=0, top_p=_TOP_P
    )
    length = inputs["input_ids"].shape[1]
    conversations = []
    for row, real in zip(output_BT.tolist(), inputs["attention_mask"].sum(1).tolist(), strict=True):
        prompt, reply = row[length - real : length], row[length:]
        conversations.append(prompt + reply[: reply.index(end) + 1 if end in reply else None])
    return conversations
