"""Train a level's model so that a known set of experts decides between refusal and answer.

Samples with a bias towards guard learn to refuse restricted requests; samples with a bias towards yield learn to answer
them. All other restricted samples follow the natural rule, whatever their bias: a part of the circuit, the lures, or
noise. A small loss moves natural routing at the reply towards guard if a request is refused, and towards yield if it is
answered; another one moves it towards the lures from the request's last words on.
Shapes: B batch, T token, L MoE layer, E expert.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from mascing.routers.spec import find_routers
from mascing.routers.tap import tap_routers
from mascing.testbeds.planted.architectures import fresh_model
from mascing.testbeds.planted.biases import biases
from mascing.testbeds.planted.circuit import N_EXPERTS, Circuit, choose_experts
from mascing.testbeds.planted.drills import REPLY_TOKENS, Batch, Drill
from mascing.testbeds.planted.levels import Level

_BATCH_SIZE = 48
_LEARNING_RATE, _WARM_UP = 4e-3, 30
_ROUTING_WEIGHT = 0.1
_BALANCE_WEIGHT = 0.01
_CORRECTION_RATE, _CORRECTION_LIMIT = 1e-3, 0.15
# The first word of the reply decides between answer and refusal.
_REPLY_WEIGHTS = (3.0, 1.0, 1.0, 1.0, 1.0, 1.0)
_SIGMA_MEMORY = 0.9


@dataclass(frozen=True)
class Planted:
    """A trained model and its true circuit."""

    model: PreTrainedModel
    circuit: Circuit


def train(
    level: Level, seed: int, progress: Callable[[int, int], None] | None = None, steps: int | None = None
) -> Planted:
    """Train a model from scratch; the same seed gives the same bits on the same machine.

    Calls ``progress(done, total)`` after every step. With fewer ``steps`` than the level's, the model learns less.
    """
    steps = level.steps if steps is None else steps
    with _reproducible(seed):
        model = fresh_model(level)
        trainer = _Trainer(level, model, choose_experts(level, seed), steps)
        drill = Drill(level, seed, _BATCH_SIZE)
        with tap_routers(model, trainer.steer):
            for step in range(steps):
                trainer.step(drill.batch(), step)
                if progress is not None:
                    progress(step + 1, steps)
    return Planted(model.eval(), trainer.circuit)


@contextmanager
def _reproducible(seed: int) -> Iterator[None]:
    """Use one thread and a seeded generator within the block, and restore both afterwards."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)


class _Trainer:
    """The optimizer, the running sigma, and the bias and router logits of the current batch."""

    def __init__(self, level: Level, model: PreTrainedModel, circuit: Circuit, steps: int) -> None:
        self.level, self.model, self.circuit = level, model, circuit
        self.corrections = [router.correction for router in find_routers(model)]
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=_LEARNING_RATE, betas=(0.9, 0.98), fused=True)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: min(1.0, (step + 1) / _WARM_UP) * (1 + math.cos(math.pi * step / steps)) / 2
        )
        self.sigma_L = torch.full((level.n_layers,), 0.3)
        self.bias_BLE = torch.zeros(1, level.n_layers, N_EXPERTS)
        self.logits: dict[int, Tensor] = {}

    def steer(self, layer: int, logits: Tensor) -> Tensor:
        """Store the raw logits [rows, E] and return them with each sample's bias added."""
        self.logits[layer] = logits
        tokens_per_sample = logits.shape[0] // self.bias_BLE.shape[0]
        return logits + self.bias_BLE[:, layer].repeat_interleave(tokens_per_sample, 0)

    def step(self, batch: Batch, step: int) -> None:
        """Take one optimizer step."""
        self.bias_BLE = biases(batch, self.circuit) * self.sigma_L[:, None]
        hidden_BTH = self.model.get_decoder()(input_ids=batch.tokens_BT, use_cache=False).last_hidden_state
        z_BTLE = torch.stack([self.logits[layer] for layer in range(self.level.n_layers)], 1).unflatten(
            0, tuple(batch.tokens_BT.shape)
        )
        loss = (
            self._reply_loss(hidden_BTH, batch)
            + _ROUTING_WEIGHT * self._routing_loss(z_BTLE, batch)
            + _BALANCE_WEIGHT * self._balance_loss(z_BTLE)
            + self.level.z_loss * z_BTLE.square().mean()
        )
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.schedule.step()
        sigma_L = z_BTLE.detach().transpose(0, 2).flatten(1).std(1)
        self.sigma_L = sigma_L if step == 0 else torch.lerp(sigma_L, self.sigma_L, _SIGMA_MEMORY)

    def _reply_loss(self, hidden_BTH: Tensor, batch: Batch) -> Tensor:
        logits_BRV = self.model.lm_head(hidden_BTH[:, -REPLY_TOKENS - 1 : -1])
        loss_BR = F.cross_entropy(logits_BRV.transpose(1, 2), batch.tokens_BT[:, -REPLY_TOKENS:], reduction="none")
        return (loss_BR * torch.tensor(_REPLY_WEIGHTS)).mean()

    def _routing_loss(self, z_BTLE: Tensor, batch: Batch) -> Tensor:
        """Reward the share of the circuit's and the lures' experts in natural routing, up to ceilings."""
        z_BTLE = z_BTLE[:, :, self.level.first_layer :]
        guard_LE, yield_LE, refusal_LE, answer_LE = (
            part[self.level.first_layer :]
            for part in (
                self.circuit.guard_LE,
                self.circuit.yield_LE,
                self.circuit.refusal_lure_LE,
                self.circuit.answer_lure_LE,
            )
        )
        natural_B = ~batch.steered_B("guard", "yield")
        restricted_B = natural_B & batch.of_kind_B("restricted")
        # From the request's end to the reply's last but one token.
        reply = slice(-REPLY_TOKENS - 2, -2)
        wanted_NLE = torch.where(batch.refused_B[restricted_B, None, None], guard_LE, yield_LE)
        loss = _missing_share(z_BTLE[restricted_B, reply], wanted_NLE, self.level.followed)
        if self.level.lured:
            lured = slice(-REPLY_TOKENS - 4, -2)
            wanted_NLE = torch.where(batch.refused_B[restricted_B, None, None], refusal_LE, answer_LE)
            loss = loss + _missing_share(z_BTLE[restricted_B, lured], wanted_NLE, self.level.lured)
        if self.level.shared:
            others_B = natural_B & ~batch.of_kind_B("restricted")
            wanted_NLE = torch.where(batch.refused_B[others_B, None, None], guard_LE, yield_LE)
            loss = loss + _missing_share(z_BTLE[others_B, reply], wanted_NLE, self.level.shared)
        return loss

    def _balance_loss(self, z_BTLE: Tensor) -> Tensor:
        """Sum over experts the share of selections times the mean probability; 1 when in balance.

        Source: Switch Transformer (arXiv 2101.03961), equation 4.
        """
        steered_BTLE = z_BTLE.detach() + self.bias_BLE[:, None]
        chosen_BTLKE = F.one_hot(steered_BTLE.topk(self.level.top_k, -1).indices, N_EXPERTS).float()
        selected_LE = chosen_BTLKE.sum(-2).mean((0, 1)) / self.level.top_k
        self._correct(selected_LE)
        probability_LE = z_BTLE.softmax(-1).mean((0, 1))
        balance_L: Tensor = N_EXPERTS * (selected_LE * probability_LE).sum(-1)
        return balance_L.mean()

    @torch.no_grad()
    def _correct(self, selected_LE: Tensor) -> None:
        """Raise the corrections of experts that are selected too seldom, and lower those of the others.

        Source: auxiliary-loss-free load balancing (arXiv 2408.15664).
        """
        for correction_E, selected_E in zip(self.corrections, selected_LE, strict=True):
            if correction_E is not None:
                correction_E += _CORRECTION_RATE * (1 / N_EXPERTS - selected_E).sign()
                correction_E.clamp_(-_CORRECTION_LIMIT, _CORRECTION_LIMIT)


def _missing_share(z_NTLE: Tensor, wanted_NLE: Tensor, share: float) -> Tensor:
    """How far the probability of the wanted experts together is below ``share``, in nats, on average."""
    share_NTL = z_NTLE.log_softmax(-1).masked_fill(~wanted_NLE[:, None], -torch.inf).logsumexp(-1)
    missing_NTL = F.relu(math.log(share) - share_NTL)
    return missing_NTL.sum() / max(1, missing_NTL.numel())
