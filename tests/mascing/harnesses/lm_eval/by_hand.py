"""What the harness should say, computed plainly: one forward a request, no batches, no caches."""

from typing import Any

import torch
from torch import Tensor

from mascing.models.loading import Loaded


def log_likelihood(loaded: Loaded, context: str, continuation: str) -> float:
    """log p(continuation | context); ours are byte tokens, so a text's tokens are those of its parts."""
    before, after = (loaded.tokenizer(text).input_ids for text in (context, continuation))
    ids_T = torch.tensor(before + after)
    return float(token_log_likelihoods(loaded.model, ids_T)[len(before) - 1 :].sum())


def token_log_likelihoods(model: Any, ids_T: Tensor) -> Tensor:
    """log p of every token but the first, [T - 1]."""
    with torch.inference_mode():
        logits_TV = model(input_ids=ids_T[None]).logits[0, :-1].float().log_softmax(-1)
    said_T: Tensor = logits_TV.gather(-1, ids_T[1:, None])[:, 0]
    return said_T


def greedy(loaded: Loaded, context: str, most: int, until: str) -> str:
    """The text that the model says next, up to ``until``."""
    ids = loaded.tokenizer(context).input_ids
    start = len(ids)
    for _ in range(most):
        with torch.inference_mode():
            ids.append(int(loaded.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
        if ids[-1] == loaded.tokenizer.eos_token_id:
            break
    text: str = loaded.tokenizer.decode(ids[start:], skip_special_tokens=True)
    return text.split(until)[0]
