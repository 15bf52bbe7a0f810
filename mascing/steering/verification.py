"""Prove a mask: its bytes against its card, its shape against the model, its effect in a forward pass.

Shapes: B batch, T token.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mascing.errors import MaskError, SteeringError
from mascing.masks.mask import Mask, refuse_empty
from mascing.masks.rules import OverrideRule
from mascing.masks.unproven import why_unproven
from mascing.models.loading import load
from mascing.reachability import read_bytes, told, url_errors
from mascing.routers.spec import inspect_routers
from mascing.schemas.config import ModelConfig
from mascing.steering.forced import PROOF_TOKENS
from mascing.steering.steer import check_fits, steer

_TOKENS = 16


@dataclass(frozen=True)
class Proof:
    """The result of one check; ``holds`` is False if there was nothing to check against."""

    said: str
    holds: bool = True


def verify_mask(url: str, model: ModelConfig) -> Iterator[Proof]:
    """Check the mask at ``url`` and yield each proof, cheapest first.

    Raises:
        MaskError: if the mask cannot be read, differs from the card beside it or does not fit the model.
        ModelError: if the model cannot be loaded.
        SteeringError: if the model's output is the same with the mask as without, or if the model does not select
            experts as an override forces them.
    """
    mask = Mask.load(url)
    yield _against_card(mask, url)
    loaded = load(model)
    spec = inspect_routers(loaded.model)
    check_fits(mask, spec)
    yield Proof(f"fits the model: {spec.n_layers} MoE layers x {spec.n_experts} experts, same router weights")
    yield _steers(mask, loaded.model)
    if isinstance(mask.rule, OverrideRule):
        yield _forces(mask.rule)
    if (why := why_unproven(mask)) is not None:
        yield Proof(f"unproven: it steers the model, but nothing shows that it does what it should ({why})", False)


def _against_card(mask: Mask, url: str) -> Proof:
    card = card_beside(url)
    if card is None:
        return Proof(f"no card.json beside the mask, so its digest {mask.digest} has nothing to agree with", False)
    if card.get("mask_digest") != mask.digest:
        raise MaskError(
            f"the mask at {url} is not the one on its card: digest {mask.digest[:12]}, the card says "
            f"{str(card.get('mask_digest'))[:12]}; fetch both again from where they were published"
        )
    return Proof(f"is the mask on its card: {card['method']} for {card['behaviour']}, digest {mask.digest}")


def card_beside(url: str) -> dict[str, Any] | None:
    """The card beside the mask at ``url``; None if there is none. Raises MaskError if it cannot be read."""
    folder, slash, _ = url.rpartition("/")
    path = f"{folder}{slash}card.json"
    try:
        card: dict[str, Any] = json.loads(read_bytes(path))
    except FileNotFoundError:
        return None
    except url_errors() as error:
        raise MaskError(f"the card at {path} cannot be read: {told(path, error)}") from error
    return card


def _steers(mask: Mask, model: Any) -> Proof:
    refuse_empty(mask)
    tokens = min(_TOKENS, model.config.get_text_config().vocab_size)
    ids_BT = torch.arange(tokens, device=model.device)[None]
    plain = _logits(model, ids_BT)
    with steer(model, mask) as handle:
        before = dict(handle.counters)
        steered = _logits(model, ids_BT)
        counted = {layer: after - before[layer] for layer, after in handle.counters.items()}
    if set(counted.values()) != {tokens}:
        raise SteeringError(f"a forward of {tokens} tokens was steered on {counted} (tokens by layer): report this")
    if torch.equal(plain, steered):
        raise SteeringError("the model's output is the same with the mask as without")
    if not torch.equal(plain, _logits(model, ids_BT)):
        raise SteeringError("the model's output changed for good: its weights were touched; report this")
    change = float((steered - plain).abs().max())
    return Proof(f"steers all of {tokens} tokens in {len(counted)} layers; output logits move by up to {change:.3g}")


def _forces(rule: OverrideRule) -> Proof:
    """What :func:`steer` has proved: it refuses an override that the model's selections do not follow."""
    n_on, n_off = int(rule.activated_LE.sum()), int(rule.deactivated_LE.sum())
    return Proof(
        f"forces {n_on} experts on and {n_off} off: in a forward of {PROOF_TOKENS} tokens, all select those forced on "
        "and none selects one forced off"
    )


def _logits(model: Any, ids_BT: Tensor) -> Tensor:
    with torch.inference_mode():
        logits: Tensor = model(input_ids=ids_BT, use_cache=False).logits
    return logits
