"""Train a tiny checkpoint in seconds and write it as an ordinary model folder.

Two experts of every MoE layer cause refusals of red things and two cause answers, so that masks can be found.
Shape suffixes: B batch, T token, L MoE layer, E expert, V vocabulary.
"""

import random
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from filelock import FileLock
from torch import Tensor
from transformers import GenerationConfig

from mascing.routers.tap import tap_routers
from tests.tiny_families.drills import Drill, batch, drills, texts
from tests.tiny_families.families import EXPERTS, Family, tokenizer, untrained

STEPS, _BATCH = 400, 32
_DRILLS = 2048
_WARM_UP = 20
_PUSH = 1.0
_BALANCE_WEIGHT = 0.01


def checkpoint(family: Family, folder: Path) -> Path:
    """Write the family's tiny checkpoint into ``folder`` unless it is there; returns the folder.

    The same family gives the same weights on the same machine. Processes that ask for one folder train it once.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not folder.exists():
            making = folder.with_name(f"{folder.name}-in-the-making")
            _write(family, making)
            making.rename(folder)
    return folder


def _write(family: Family, folder: Path) -> None:
    words = tokenizer(family, texts())
    model = trained(family, words)
    ends = [words.eos_token_id]
    model.generation_config = GenerationConfig(eos_token_id=ends, pad_token_id=words.pad_token_id)
    model.save_pretrained(folder)
    words.save_pretrained(folder)


def trained(family: Family, words: Any, steps: int = STEPS) -> Any:
    """A model of the family that thinks, then refuses or answers; one thread, reproducible."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = untrained(family, words).train()
            return _train(model, drills(family, words, _DRILLS, seed=0), words.pad_token_id, steps)
    finally:
        torch.set_num_threads(threads)


def _train(model: Any, material: list[Drill], pad: int, steps: int) -> Any:
    optimizers = _optimizers(model)
    schedules = [
        torch.optim.lr_scheduler.OneCycleLR(
            each, each.param_groups[0]["lr"], total_steps=steps, pct_start=_WARM_UP / steps, cycle_momentum=False
        )
        for each in optimizers
    ]
    rng = random.Random(0)
    # Turns of like length stand together, so that little is padded.
    material = sorted(material, key=lambda drill: len(drill.ids))
    pushes = _Pushes()
    with tap_routers(model, pushes.edit):
        for _ in range(steps):
            start = rng.randrange(len(material) - 4 * _BATCH)
            ids_BT, weight_BT, pushes.push_B = batch(rng.sample(material[start : start + 4 * _BATCH], _BATCH), pad)
            model.zero_grad()
            loss = _loss(model(input_ids=ids_BT, use_cache=False).logits, ids_BT, weight_BT)
            (loss + _BALANCE_WEIGHT * pushes.imbalance()).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for optimizer, schedule in zip(optimizers, schedules, strict=True):
                optimizer.step()
                schedule.step()
    return model.eval()


def _optimizers(model: Any) -> list[torch.optim.Optimizer]:
    """Muon for the attention, which learns to copy words in half the steps of Adam; Adam for the rest."""
    named = list(model.named_parameters())
    attention = [weight for name, weight in named if "self_attn" in name and weight.dim() == 2]
    rest = [weight for name, weight in named if "self_attn" not in name or weight.dim() != 2]
    return [
        torch.optim.Muon(attention, lr=0.02, momentum=0.95, weight_decay=0.0),
        torch.optim.AdamW(rest, lr=5e-3, betas=(0.9, 0.98), weight_decay=0.0),
    ]


class _Pushes:
    """Biases on the planted experts, in standard deviations of each layer's logits."""

    def __init__(self) -> None:
        self.push_B = torch.zeros(1)
        self._planted_E = torch.zeros(EXPERTS)
        self._planted_E[:4] = torch.tensor([1.0, 1.0, -1.0, -1.0])
        self._logits: dict[int, Tensor] = {}

    def edit(self, layer: int, logits: Tensor) -> Tensor:
        """Router logits [B * T, E] with the bias of their row."""
        self._logits[layer] = logits
        size = _PUSH * logits.detach().std()
        planted_E = self._planted_E.roll(3 * layer)
        push_BE = size * self.push_B[:, None] * planted_E
        return logits + push_BE.repeat_interleave(logits.shape[0] // len(self.push_B), 0)

    def imbalance(self) -> Tensor:
        """How unevenly the experts are used, summed over the layers; 0 if evenly."""
        uses = [logits.softmax(-1).mean(0) for logits in self._logits.values()]
        return torch.stack([(EXPERTS * use_E.square()).sum() - 1 for use_E in uses]).sum()


def _loss(logits_BTV: Tensor, ids_BT: Tensor, weight_BT: Tensor) -> Tensor:
    """Cross-entropy of what the model writes."""
    loss_BT = F.cross_entropy(logits_BTV[:, :-1].transpose(1, 2), ids_BT[:, 1:], reduction="none")
    return (loss_BT * weight_BT[:, 1:]).sum() / weight_BT[:, 1:].sum()
