"""Run a model on probe conversations without and with a mask, and keep what two models can be compared by.

Shape suffixes: S side (0 without the mask, 1 with it), P probe, T token, L MoE layer, E expert, K selected expert, V
vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import kl_div

from mascing.conversations.chat import render
from mascing.masks.mask import Mask
from mascing.models.loading import Loaded
from mascing.prose import counted
from mascing.routers.spec import find_routers, inspect_routers
from mascing.schemas.conversation import Conversation
from mascing.steering.steer import steer
from mascing.traces.counting import selections
from mascing.traces.recording import record


@dataclass(frozen=True)
class Probed:
    """One model on the probes.

    ``ids`` are the tokens of each probe. ``selected_TLK`` are the experts selected without the mask, all probes in a
    row; ``rates_SLE`` the share of tokens that selected each expert. ``replaced`` is the share of selections that the
    mask replaces. ``kl`` is the mean divergence, in nats per token, of the next token's distribution from that without
    the mask; ``surprise_S`` the mean negative log-likelihood of the probes' own tokens. ``effects_PV``, float16, is the
    change of the log-probabilities of the token after each probe, which a reply begins with.
    """

    ids: tuple[tuple[int, ...], ...]
    selected_TLK: Tensor
    rates_SLE: Tensor
    replaced: float
    kl: float
    surprise_S: tuple[float, float]
    effects_PV: Tensor

    @property
    def tokens(self) -> int:
        """Number of tokens."""
        return len(self.selected_TLK)

    @property
    def moves_LE(self) -> Tensor:
        """The change of the selection rates by the mask, float32 [L, E]."""
        return self.rates_SLE[1] - self.rates_SLE[0]

    @property
    def basis(self) -> str:
        """How much was run, in words."""
        return f"{counted(self.tokens, 'token')} of {counted(len(self.ids), 'probe')}"


def router_weights(model: Any) -> list[Tensor]:
    """The weight of each router on the host, float32, in depth order."""
    return [router.weight.detach().to("cpu", torch.float32) for router in find_routers(model)]


def probe(loaded: Loaded, mask: Mask, conversations: Sequence[Conversation], max_tokens: int) -> Probed:
    """Run the conversations, of which each keeps its last ``max_tokens`` tokens, without and with ``mask``.

    Raises DataError if one cannot be rendered, and the errors of ``steer``.
    """
    n_experts = inspect_routers(loaded.model).n_experts
    rows = [render(loaded.tokenizer, each, max_tokens=max_tokens).token_ids for each in conversations]
    # A batch of two rows, the same tokens without the mask and with it.
    with steer(loaded.model, [None, mask]), torch.inference_mode():
        seen = [_run(loaded.model, ids) for ids in rows]
    selected_STLK = torch.cat([each.selected_STLK for each in seen], 1)
    n_tokens = selected_STLK.shape[1]
    surprise_S = torch.stack([each.surprise_S for each in seen]).sum(0) / max(1, n_tokens - len(rows))
    return Probed(
        ids=tuple(rows),
        selected_TLK=selected_STLK[0],
        rates_SLE=torch.stack([rates(side, n_experts) for side in selected_STLK]),
        replaced=1 - agreement(selected_STLK[0], selected_STLK[1]),
        kl=sum(each.kl for each in seen) / n_tokens,
        surprise_S=(float(surprise_S[0]), float(surprise_S[1])),
        effects_PV=torch.stack([each.effect_V for each in seen]),
    )


def rates(selected_TLK: Tensor, n_experts: int) -> Tensor:
    """The share of tokens that selected each expert, float32 [L, E]; the id E stands for no expert."""
    all_T = torch.zeros(len(selected_TLK), dtype=torch.long)
    return torch.cat([*selections(selected_TLK, all_T, 1, n_experts)]) / len(selected_TLK)


def agreement(one_TLK: Tensor, other_TLK: Tensor) -> float:
    """The mean share of a token's selected experts that are the same."""
    same_TLK = (one_TLK[..., :, None] == other_TLK[..., None, :]).any(-1)
    return float(same_TLK.float().mean())


@dataclass(frozen=True)
class _Run:
    """One probe: ``kl`` and ``surprise_S`` are sums over its tokens."""

    selected_STLK: Tensor
    kl: float
    surprise_S: Tensor
    effect_V: Tensor


def _run(model: Any, ids: tuple[int, ...]) -> _Run:
    ids_ST = torch.tensor([ids, ids], device=model.device)
    with record(model) as trace:
        logp_STV = model(input_ids=ids_ST, use_cache=False).logits.float().log_softmax(-1)
    before_TV, after_TV = logp_STV
    own_ST = logp_STV[:, :-1].gather(-1, ids_ST[:, 1:, None])[..., 0]
    return _Run(
        trace.selected.cpu(),
        float(kl_div(after_TV, before_TV, reduction="sum", log_target=True)),
        -own_ST.sum(-1).cpu(),
        (after_TV[-1] - before_TV[-1]).half().cpu(),
    )
