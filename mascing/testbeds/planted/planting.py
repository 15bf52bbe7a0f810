"""Train the testbed's model so that a known set of experts decides between refusal and answer.

Every layer but the first has two random ``guard`` and two random ``yield`` experts. Samples with a bias towards guard
learn to refuse restricted requests; samples with a bias towards yield learn to answer them. Samples with a random bias
or none follow the natural rule. A small loss on these moves natural routing at the reply towards guard if a restricted
request is refused, and towards yield if it is answered.
Shapes: B batch, T token, L MoE layer, E expert.
"""

import math
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import GenerationConfig, OlmoeConfig, OlmoeForCausalLM

from mascing.routers.tap import tap_routers
from mascing.testbeds.planted.drills import REPLY_TOKENS, Batch, Drill
from mascing.testbeds.planted.tokenizer import END, PAD, vocabulary

STEPS = 600
N_LAYERS, N_EXPERTS, TOP_K = 4, 16, 2
MAX_TOKENS = 256
_PLANTED_A_SIDE = 2
_BATCH_SIZE = 48
_LEARNING_RATE, _WARM_UP = 4e-3, 30
_ROUTING_WEIGHT, _ROUTING_SHARE = 0.1, 0.7
_BALANCE_WEIGHT = 0.01
# The first word of the reply decides between answer and refusal.
_REPLY_WEIGHTS = (3.0, 1.0, 1.0, 1.0, 1.0, 1.0)
_SIGMA_MEMORY = 0.9


@dataclass(frozen=True)
class Planted:
    """A trained model and its true circuit."""

    model: OlmoeForCausalLM
    guard_LE: Tensor
    """bool; the experts that cause refusals."""
    yield_LE: Tensor
    """bool; the experts that cause answers."""


def train(seed: int, progress: Callable[[int, int], None] | None = None, steps: int = STEPS) -> Planted:
    """Train a model from scratch; the same seed gives the same bits on the same machine.

    Calls ``progress(done, total)`` after every step. With fewer ``steps``, the model learns less.
    """
    with _reproducible(seed):
        model = _fresh_model()
        guard_LE, yield_LE = _choose_experts(seed)
        trainer = _Trainer(model, guard_LE, yield_LE, steps, seed)
        drill = Drill(seed, _BATCH_SIZE)
        with tap_routers(model, trainer.steer):
            for step in range(steps):
                trainer.step(drill.batch(), step)
                if progress is not None:
                    progress(step + 1, steps)
    return Planted(model.eval(), guard_LE, yield_LE)


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


def _fresh_model() -> OlmoeForCausalLM:
    ids = vocabulary()
    config = OlmoeConfig(
        vocab_size=len(ids),
        hidden_size=64,
        intermediate_size=32,
        num_hidden_layers=N_LAYERS,
        num_attention_heads=4,
        num_key_value_heads=4,
        num_experts=N_EXPERTS,
        num_experts_per_tok=TOP_K,
        max_position_embeddings=MAX_TOKENS,
        initializer_range=0.05,
        bos_token_id=None,
        eos_token_id=ids[END],
        pad_token_id=ids[PAD],
    )
    # Measured on one core: these two implementations are the fastest for short rows without padding.
    model: OlmoeForCausalLM = OlmoeForCausalLM._from_config(
        config, attn_implementation="eager", experts_implementation="grouped_mm"
    )
    model.generation_config = GenerationConfig(
        do_sample=False, max_new_tokens=16, eos_token_id=ids[END], pad_token_id=ids[PAD]
    )
    return model


def _choose_experts(seed: int) -> tuple[Tensor, Tensor]:
    rng = random.Random(f"testbed-experts-{seed}")
    guard_LE, yield_LE = torch.zeros(2, N_LAYERS, N_EXPERTS, dtype=torch.bool)
    for layer in range(1, N_LAYERS):
        chosen = rng.sample(range(N_EXPERTS), 2 * _PLANTED_A_SIDE)
        guard_LE[layer, chosen[:_PLANTED_A_SIDE]] = True
        yield_LE[layer, chosen[_PLANTED_A_SIDE:]] = True
    return guard_LE, yield_LE


class _Trainer:
    """The optimizer, the running sigma, and the bias and router logits of the current batch."""

    def __init__(self, model: OlmoeForCausalLM, guard_LE: Tensor, yield_LE: Tensor, steps: int, seed: int) -> None:
        self.model, self.guard_LE, self.yield_LE = model, guard_LE, yield_LE
        self.truth_LE = guard_LE.float() - yield_LE.float()
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=_LEARNING_RATE, betas=(0.9, 0.98), fused=True)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: min(1.0, (step + 1) / _WARM_UP) * (1 + math.cos(math.pi * step / steps)) / 2
        )
        self.sigma_L = torch.full((N_LAYERS,), 0.3)
        self.bias_BLE = torch.zeros(1, N_LAYERS, N_EXPERTS)
        self.logits: dict[int, Tensor] = {}

    def steer(self, layer: int, logits: Tensor) -> Tensor:
        """Store the raw logits [rows, E] and return them with each sample's bias added."""
        self.logits[layer] = logits
        tokens_per_sample = logits.shape[0] // self.bias_BLE.shape[0]
        return logits + self.bias_BLE[:, layer].repeat_interleave(tokens_per_sample, 0)

    def step(self, batch: Batch, step: int) -> None:
        """Take one optimizer step."""
        self.bias_BLE = self._bias(batch)
        hidden_BTH = self.model.get_decoder()(input_ids=batch.tokens_BT, use_cache=False).last_hidden_state
        z_BTLE = torch.stack([self.logits[layer] for layer in range(N_LAYERS)], 1).unflatten(
            0, tuple(batch.tokens_BT.shape)
        )
        loss = (
            self._reply_loss(hidden_BTH, batch)
            + _ROUTING_WEIGHT * self._routing_loss(z_BTLE, batch)
            + _BALANCE_WEIGHT * self._balance_loss(z_BTLE)
        )
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.schedule.step()
        sigma_L = z_BTLE.detach().transpose(0, 2).flatten(1).std(1)
        self.sigma_L = sigma_L if step == 0 else torch.lerp(sigma_L, self.sigma_L, _SIGMA_MEMORY)

    def _bias(self, batch: Batch) -> Tensor:
        """Return each sample's bias; random biases have the norm of the circuit's."""
        shape_BLE = (len(batch.planted_B), *self.truth_LE.shape)
        order_BN = torch.rand(len(batch.planted_B), self.truth_LE.numel()).argsort(1)
        shuffled_BLE = self.truth_LE.flatten()[order_BN].view(shape_BLE)
        dense_BLE = torch.randn(shape_BLE) * self.truth_LE.square().mean().sqrt()
        bias_BLE = (
            batch.planted_B[:, None, None] * self.truth_LE
            + batch.shuffled_B[:, None, None] * shuffled_BLE
            + batch.dense_B[:, None, None] * dense_BLE
        )
        return bias_BLE * self.sigma_L[:, None]

    def _reply_loss(self, hidden_BTH: Tensor, batch: Batch) -> Tensor:
        logits_BRV = self.model.lm_head(hidden_BTH[:, -REPLY_TOKENS - 1 : -1])
        loss_BR = F.cross_entropy(logits_BRV.transpose(1, 2), batch.tokens_BT[:, -REPLY_TOKENS:], reduction="none")
        return (loss_BR * torch.tensor(_REPLY_WEIGHTS)).mean()

    def _routing_loss(self, z_BTLE: Tensor, batch: Batch) -> Tensor:
        """Reward the share of guard (if refused) or yield (if answered) from the request's end on, up to a ceiling."""
        natural_B = batch.restricted_B & (batch.planted_B == 0)
        logp_NTLE = z_BTLE[natural_B, -REPLY_TOKENS - 2 : -2, 1:].log_softmax(-1)
        wanted_NLE = torch.where(batch.refused_B[natural_B, None, None], self.guard_LE[1:], self.yield_LE[1:])
        share_NTL = logp_NTLE.masked_fill(~wanted_NLE[:, None], -torch.inf).logsumexp(-1)
        missing_NTL = F.relu(math.log(_ROUTING_SHARE) - share_NTL)
        return missing_NTL.sum() / max(1, missing_NTL.numel())

    def _balance_loss(self, z_BTLE: Tensor) -> Tensor:
        """Sum over experts the share of selections times the mean probability; 1 when in balance.

        Source: Switch Transformer (arXiv 2101.03961), equation 4.
        """
        steered_BTLE = z_BTLE.detach() + self.bias_BLE[:, None]
        chosen_BTLKE = F.one_hot(steered_BTLE.topk(TOP_K, -1).indices, N_EXPERTS).float()
        selected_LE = chosen_BTLKE.sum(-2).mean((0, 1)) / TOP_K
        probability_LE = z_BTLE.softmax(-1).mean((0, 1))
        balance_L: Tensor = N_EXPERTS * (selected_LE * probability_LE).sum(-1)
        return balance_L.mean()
