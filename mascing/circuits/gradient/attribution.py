"""The effect of each expert on the margin between wanted and unwanted reply, from one backward pass.

Shape suffixes: L MoE layer, E expert.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from safetensors.torch import save
from torch import Tensor

from mascing.circuits.gradient.backward_passes import DEFAULT, BackwardPasses
from mascing.circuits.gradient.frozen import frozen
from mascing.circuits.gradient.straight_through import StraightThrough
from mascing.engines.likelihood import contrast_batches
from mascing.models.loading import Loaded
from mascing.routers.spec import find_routers
from mascing.schemas.cards.search_cost import Passes
from mascing.schemas.config import ComputeConfig
from mascing.schemas.conversation import Conversation

NAME = "attribution"


@dataclass(frozen=True)
class Attribution:
    """``effect_LE``: d margin / d bias of every expert of the unsteered model, in nats per logit, float32 [L, E].

    ``memory`` says whether memory ran out, and what was done about it; empty if it did not.
    """

    effect_LE: Tensor
    passes: Passes
    memory: str = ""


def attribution(
    loaded: Loaded,
    contrast: Sequence[Conversation],
    sigma: Tensor,
    batch_size: int,
    compute: ComputeConfig = DEFAULT,
    *,
    only_selected: bool = False,
) -> Attribution:
    """Return the mean over ``contrast`` of d margin / d bias for all L x E experts.

    margin = log p(wanted) - log p(unwanted), teacher-forced. Each conversation takes part in one backward pass, whose
    memory ``compute`` bounds.
    Gradients pass selection straight-through, so experts that no token selects have one too, unless ``only_selected``
    asks what the tokens that select an expert owe to it. Conversations without both replies do not count. ``sigma`` [L]
    is the calibrated spread of each layer's logits. Raises DataError if no conversation has both replies.
    """
    batches = contrast_batches(loaded, contrast, batch_size)
    S_LE = torch.zeros(len(sigma), find_routers(loaded.model)[0].n_experts, requires_grad=True)
    effect_LE = torch.zeros_like(S_LE, requires_grad=False)
    passes = BackwardPasses(loaded.model, compute)
    with frozen(loaded.model), StraightThrough(loaded.model, sigma, S_LE, only_selected=only_selected) as through:
        for batch in batches:
            effect_LE += passes.gradient(
                batch, lambda part: part.margins(loaded.model).sum() / batches.conversations, through
            )
    n = len(batches)
    cost = Passes(forward=n, backward=n, conversations=batch_size)
    return Attribution(effect_LE / sigma[:, None], cost, passes.note)


def to_bytes(attributed: Attribution) -> bytes:
    """Serialise the map as a safetensors file with one tensor, ``effect``."""
    return bytes(save({"effect": attributed.effect_LE.contiguous()}))
