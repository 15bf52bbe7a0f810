"""Gradient descent on the model itself for a bias that makes the wanted reply likelier than the unwanted one.

The weights are frozen. Only S [L, E] has gradients, through the routers in teacher-forced forward passes.
Shape suffixes: B row of a batch, L MoE layer, E expert.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from mascing.circuits.gradient.backward_passes import DEFAULT, BackwardPasses
from mascing.circuits.gradient.frozen import frozen
from mascing.circuits.gradient.straight_through import StraightThrough
from mascing.engines.likelihood import Replies, ReplyBatch, ReplyBatches, contrast_batches
from mascing.masks.candidates import Candidate
from mascing.masks.mask import Mask
from mascing.models.loading import Loaded
from mascing.routers.spec import RouterSpec
from mascing.schemas.cards.search_cost import Passes
from mascing.schemas.config import ComputeConfig
from mascing.schemas.conversation import Conversation
from mascing.schemas.settings.method_settings import GradientConfig

NAME = "gradient"
MARGIN = 4.0
"""Nats by which the wanted reply should lead; a conversation with a larger lead adds no gradient."""
THRESHOLD = 0.1
"""Entries of S up to this size become 0: where L1 wants 0, Adam leaves noise of about its learning rate."""
NOISY_STEPS = 0.5
"""Share of the steps over which the noise falls linearly to 0; the remaining steps have no noise."""


@dataclass(frozen=True)
class Descended:
    """The candidates of one search, its cost, and ``memory``: what was done where memory ran out, if it did."""

    candidates: list[Candidate]
    passes: Passes
    memory: str


def candidates(
    loaded: Loaded,
    spec: RouterSpec,
    contrast: Sequence[Conversation],
    conversations: Sequence[Conversation],
    sigma: Tensor,
    config: GradientConfig,
    seed: int,
    *,
    name: str = NAME,
    start_LE: Tensor | None = None,
    compute: ComputeConfig = DEFAULT,
) -> Descended:
    """Return one candidate per cell of l1 x alphas, with bias ``alpha * sigma[:, None] * S``, and their total cost.

    ``contrast`` are conversations of the target set; only those with a `wanted` and an `unwanted` reply count.
    Of ``conversations``, those of other sets count, whose `wanted` reply must stay likely. ``sigma`` [L] is the
    calibrated spread of each layer's logits. ``name`` is the method that searches so. The descent starts from
    ``start_LE``, by default 0. ``compute`` bounds the memory of a backward pass and changes nothing else.
    Raises DataError if no conversation of ``contrast`` has both replies.
    """
    contrasts = contrast_batches(loaded, contrast, config.batch_size)
    kept = conversations if config.utility_weight else ()
    keeps = ReplyBatches(loaded, kept, _reply_to_keep, config.batch_size)
    passes = BackwardPasses(loaded.model, compute)
    proposed = []
    start_LE = torch.zeros(len(spec.layer_ids), spec.n_experts) if start_LE is None else start_LE
    for l1 in config.l1:
        with frozen(loaded.model):
            S_LE = _descend(passes, loaded.model, contrasts, keeps, sigma, l1, start_LE, config, seed)
        for alpha in config.alphas:
            cell = {"l1": l1, "alpha": alpha}
            mask = Mask.from_bias(alpha * sigma[:, None] * S_LE, spec, {"method": name, **cell})
            proposed.append(Candidate(name, cell, mask))
    n = len(config.l1) * config.steps * (2 if len(keeps) else 1)
    cost = Passes(forward=n, backward=n, conversations=config.batch_size)
    return Descended(proposed, cost, passes.note)


def _reply_to_keep(conversation: Conversation) -> Replies | None:
    return (conversation.wanted,) if conversation.set != "target" and conversation.wanted else None


def _descend(
    passes: BackwardPasses,
    model: nn.Module,
    contrasts: Sequence[ReplyBatch],
    keeps: Sequence[ReplyBatch],
    sigma: Tensor,
    l1: float,
    start_LE: Tensor,
    config: GradientConfig,
    seed: int,
) -> Tensor:
    """Return the thresholded S, float32 [L, E] in sigma, after ``config.steps`` steps of Adam from ``start_LE``.

    Minimises ``mean hinge(MARGIN - margin) + utility_weight * mean -log p(benign wanted) + l1 * |S|_1`` with
    margin = log p(wanted) - log p(unwanted). Each step takes one batch of each kind. Gradients pass selection
    straight-through, under noise that falls to 0.
    """
    S_LE = start_LE.clone().requires_grad_()
    optimizer = torch.optim.Adam([S_LE], lr=config.learning_rate)
    generator = torch.Generator().manual_seed(seed)
    contrast_turns, keep_turns = _endless(contrasts, generator), _endless(keeps, generator)
    with StraightThrough(model, sigma, S_LE, seed) as through:
        for step in range(config.steps):
            through.noise = config.noise * max(0.0, 1 - step / (NOISY_STEPS * config.steps))
            through.turn = 2 * step
            S_LE.grad = l1 * S_LE.detach().sign()
            S_LE.grad += _mean_gradient(passes, next(contrast_turns), partial(_hinge, model), through)
            if keeps:
                through.turn = 2 * step + 1
                unlikely_LE = _mean_gradient(passes, next(keep_turns), partial(_unlikelihood, model), through)
                S_LE.grad += config.utility_weight * unlikely_LE
            optimizer.step()
    optimum_LE = S_LE.detach()
    return torch.where(optimum_LE.abs() > THRESHOLD, optimum_LE, 0.0)


def _mean_gradient(
    passes: BackwardPasses, batch: ReplyBatch, loss: Callable[[ReplyBatch], Tensor], through: StraightThrough
) -> Tensor:
    return passes.gradient(batch, loss, through) / len(batch)


def _hinge(model: nn.Module, batch: ReplyBatch) -> Tensor:
    return (MARGIN - batch.margins(model)).relu().sum()


def _unlikelihood(model: nn.Module, batch: ReplyBatch) -> Tensor:
    return -batch.log_likelihood(model).sum()


def _endless(batches: Sequence[ReplyBatch], generator: torch.Generator) -> Iterator[ReplyBatch]:
    while batches:
        for index in torch.randperm(len(batches), generator=generator).tolist():
            yield batches[index]
