"""Batches of prompts of similar length, so that little compute goes to padding."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, long, tensor, zeros

Told = Callable[[int, int], None]
"""What is told of each batch that is done: how many of its tokens are real, and how many are padding."""


def untold(tokens: int, padding: int) -> None:
    """For callers that do not count."""


def length_sorted_batches(lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """Group indices by length, longest first; each batch has at most ``batch_tokens`` tokens, padding included.

    A prompt longer than the budget is a batch of its own. The order depends only on the lengths. A model that runs out
    of memory does so on the first batch. Together the batches hold every index exactly once.
    """
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    batches: list[list[int]] = []
    for index in order:
        if batches and lengths[batches[-1][0]] * (len(batches[-1]) + 1) <= batch_tokens:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def right_padded(rows: Sequence[Sequence[int]]) -> Tensor:
    """Token ids [B, T] with zeros after each row's end.

    A causal decoder needs no attention mask for it, because no real token sees the padding after it. The caller must
    discard the results at padded positions.
    """
    length = max(len(row) for row in rows)
    ids_BT = zeros((len(rows), length), dtype=long)
    for index, row in enumerate(rows):
        ids_BT[index, : len(row)] = tensor(row, dtype=long)
    return ids_BT


def batch_shape(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[int, int]:
    """(B, T) of a decoder's input, which is either tokens or embeddings."""
    tokens = kwargs.get("input_ids")
    if tokens is None:
        tokens = kwargs.get("inputs_embeds")
    if tokens is None:
        tokens = args[0]
    return tokens.shape[0], tokens.shape[1]
