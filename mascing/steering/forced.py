"""Prove an override by what the model really selects: forced-on experts for every token, forced-off ones for none.

Shape suffixes: R row of the batch, T token, E expert, N row (R * T), K selected experts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mascing.errors import SteeringError
from mascing.masks.mask import Mask
from mascing.masks.rules import OverrideRule
from mascing.routers.selected_experts import watch_selections
from mascing.routers.spec import find_routers

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PROOF_TOKENS = 256
"""Tokens of a proof: an expert that fails on 2% of tokens passes 256 of them once in 176 proofs."""

_LEAST_PER_ROW = 64

ROWS = 4
"""Rows of a proof where the masks do not say how many."""


@dataclass(frozen=True)
class Unforced:
    """An expert that does not do what its mask forces; ``share`` is that of the row's tokens that select it."""

    row: int
    layer: int
    expert: int
    forced_on: bool
    share: float


class ForcedExperts:
    """The proof for the masks of one steered model; each mask is proved once."""

    def __init__(self, model: "PreTrainedModel", rows: int) -> None:
        """Prove nothing yet; proofs will run batches of ``rows``."""
        self._model, self._rows = model, rows
        self._proved: set[str] = set()

    def prove(self, masks: Sequence[Mask | None]) -> None:
        """Run a forward of varied tokens and compare its selections with the masks in force, one for all or one a row.

        Bias masks force nothing. Raises SteeringError naming the experts that a token selects, or does not select,
        against its mask.
        """
        new = {mask.digest for mask in masks if mask is not None and isinstance(mask.rule, OverrideRule)} - self._proved
        if not new:
            return
        ids_RT = varied_tokens(self._model, self._rows)
        with watch_selections(self._model, lambda layer, ids_NK: None) as handle:
            selected = handle.selected(ids_RT)
        failed = sorted(unforced(masks, selected), key=lambda found: found.share if found.forced_on else -found.share)
        if failed:
            raise SteeringError(
                _message(failed, find_routers(self._model)[failed[0].layer].name, ids_RT.numel() // len(masks))
            )
        self._proved |= new


def varied_tokens(model: "PreTrainedModel", rows: int) -> Tensor:
    """Token ids [rows, T] drawn from the whole vocabulary, the same each time."""
    context = getattr(model.config.get_text_config(), "max_position_embeddings", None) or PROOF_TOKENS
    length = min(context, max(_LEAST_PER_ROW, PROOF_TOKENS // rows))
    n_tokens = model.get_input_embeddings().weight.shape[0]
    return torch.randint(n_tokens, (rows, length), generator=torch.Generator().manual_seed(0))


def unforced(masks: Sequence[Mask | None], selected: Sequence[Tensor]) -> Iterator[Unforced]:
    """The experts that ``selected``, ids [N, K] of each layer, show not to be as the masks force them."""
    for layer, ids_NK in enumerate(selected):
        for row, (mask, ids_TK) in enumerate(zip(masks, ids_NK.chunk(len(masks)), strict=True)):
            if mask is None or not isinstance(mask.rule, OverrideRule):
                continue
            share_E = selection_rate(ids_TK, mask.spec.n_experts)
            for forced_E, wanted in ((mask.rule.activated_LE[layer], 1.0), (mask.rule.deactivated_LE[layer], 0.0)):
                for expert in (forced_E & (share_E != wanted)).nonzero().flatten().tolist():
                    yield Unforced(row, layer, expert, wanted == 1.0, float(share_E[expert]))


def selection_rate(ids_NK: Tensor, n_experts: int) -> Tensor:
    """Share of the tokens that select each expert, [E]; the ids of a token are distinct."""
    counts = torch.bincount(ids_NK.flatten().long().cpu(), minlength=n_experts)
    return counts[:n_experts] / len(ids_NK)


def _message(failed: Sequence[Unforced], router: str, tokens: int) -> str:
    worst = failed[0]
    forced = "on" if worst.forced_on else "off"
    others = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
    return (
        f"the override does not hold: expert {worst.expert} of {router} is forced {forced}, but {worst.share:.1%} of "
        f"{tokens} tokens select it{others}. The family selects by a rule that this override cannot force: leave these "
        "experts out of the mask, or steer with a bias mask"
    )
