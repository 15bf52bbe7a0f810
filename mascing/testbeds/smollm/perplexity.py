"""Measure how well a model predicts text."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


@torch.inference_mode()
def perplexity(model: Any, text_BT: Tensor) -> float:
    """Return exp of the mean negative log likelihood of each token after the first of its row."""
    logits_BTV = model(text_BT).logits[:, :-1]
    return float(torch.nn.functional.cross_entropy(logits_BTV.flatten(0, 1), text_BT[:, 1:].flatten()).exp())


@contextmanager
def experts_on(model: Any, top_k: int) -> Iterator[None]:
    """Select ``top_k`` experts of a split model within the block, and scale them to keep their weight."""
    layers = [layer.mlp for layer in model.model.layers]
    before = layers[0].gate.top_k
    _select(layers, top_k, top_k / before)
    try:
        yield
    finally:
        _select(layers, before, before / top_k)


def _select(layers: list[Any], top_k: int, scale: float) -> None:
    for layer in layers:
        layer.gate.top_k = top_k
        layer.experts.down_proj.data.mul_(scale)
