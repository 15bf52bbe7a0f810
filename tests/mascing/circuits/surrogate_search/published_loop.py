"""The published search, transcribed from its formulas: one lambda at a time, over [B, T, L, E] tensors.

It shares no code with the library, and is what the library is measured against.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def surrogate_logits(weights: dict[str, Tensor], z_BTLE: Tensor, lengths_B: Tensor) -> Tensor:
    """LayerNorm over E, Linear E -> 16 shared by layers, flatten, LSTM over the tokens, Linear -> 1 at the last one."""
    mean = z_BTLE.mean(dim=-1, keepdim=True)
    variance = ((z_BTLE - mean) ** 2).mean(dim=-1, keepdim=True)
    normed = (z_BTLE - mean) / torch.sqrt(variance + 1e-5) * weights["norm.weight"] + weights["norm.bias"]
    projected = normed @ weights["project.weight"].T + weights["project.bias"]
    flat = projected.reshape(*projected.shape[:2], -1)
    lstm = torch.nn.LSTM(flat.shape[-1], weights["head.weight"].shape[1], batch_first=True)
    lstm.load_state_dict({name[5:]: value for name, value in weights.items() if name.startswith("lstm.")})
    states, _ = lstm.requires_grad_(False)(flat)
    last = states[torch.arange(len(lengths_B)), lengths_B - 1]
    logits: Tensor = (last @ weights["head.weight"].T + weights["head.bias"])[:, 0]
    return logits


def published_search(
    weights: dict[str, Tensor],
    samples: Sequence[Tensor],
    sigma: Tensor,
    weight: float,
    epochs: int,
    seed: int,
    report_loss: Callable[[float], None] = lambda loss: None,
) -> Tensor:
    """S [L, E] before thresholding: ``samples`` are z [T, L, E] of the negative conversations, ``seen`` gets each loss.

    min over S of mean BCE(f(z + sigma * S), 1) + lambda * |S|_1: Adam with rate 0.05, batches of 16, Kaiming start.
    """
    draw = torch.Generator().manual_seed(seed)
    S = torch.nn.init.kaiming_uniform_(torch.empty(samples[0].shape[1:]), generator=draw).requires_grad_()
    adam = torch.optim.Adam([S], lr=0.05)
    for _ in range(epochs):
        order = torch.randperm(len(samples), generator=draw).tolist()
        for start in range(0, len(order), 16):
            batch = [samples[index].float() for index in order[start : start + 16]]
            z_BTLE = torch.nn.utils.rnn.pad_sequence(batch, batch_first=True)
            logits = surrogate_logits(weights, z_BTLE + sigma[:, None] * S, torch.tensor([len(z) for z in batch]))
            loss = -torch.log(torch.sigmoid(logits)).mean() + weight * S.abs().sum()
            adam.zero_grad()
            torch.autograd.backward(loss)
            adam.step()
            report_loss(float(loss.detach()))
    return S.detach()
