"""A mask from counts that somebody else made: SteerMoE's rule without traces.

Shape suffixes: S side of the contrast (0 without the behaviour, 1 with it), L MoE layer, E expert.
"""

import torch

from mascing.circuits.steermoe.count_files import GivenCounts
from mascing.circuits.steermoe.risk_difference import Selections
from mascing.circuits.steermoe.search import masks
from mascing.errors import DataError
from mascing.masks.mask import Mask
from mascing.routers.spec import RouterSpec
from mascing.schemas.cards.counts_card import CountsCard
from mascing.schemas.settings.method_settings import SteerMoEConfig


def doubt(counts: GivenCounts, spec: RouterSpec) -> str | None:
    """Say if tokens selected fewer than top-k experts: right only where tokens are dropped or may choose no expert.

    Raises DataError if a layer routed no token, or if its tokens selected more than top-k experts.
    """
    if int(counts.tokens_L.min()) == 0:
        raise DataError(f"{counts.name}: layer {spec.layer_ids[int(counts.tokens_L.argmin())]} has no tokens")
    per_token_L = counts.selected_LE.sum(dim=-1).double() / counts.tokens_L
    most, fewest = float(per_token_L.max()), float(per_token_L.min())
    if most > spec.top_k:
        depth = spec.layer_ids[int(per_token_L.argmax())]
        raise DataError(
            f"{counts.name}: layer {depth} has {most:.4g} selections per token, but the model selects {spec.top_k} "
            "experts: was another top-k counted, or padding in the counts and not in the tokens?"
        )
    if fewest == spec.top_k:
        return None
    n_short = int((per_token_L < spec.top_k).sum())
    return (
        f"{counts.name}: {n_short} of {spec.n_layers} layers have fewer selections per token than the model's "
        f"{spec.top_k} ({fewest:.4g} at least): right only if tokens were dropped or chose no expert"
    )


def mask_from_counts(positive: GivenCounts, negative: GivenCounts, spec: RouterSpec, config: SteerMoEConfig) -> Mask:
    """Return the mask of the config's first cell, which pushes towards the ``positive`` counts.

    Raises DataError if no expert can be chosen.
    """
    sides = {"without": negative, "with": positive}  # the order of S
    selections = Selections(
        torch.stack([given.selected_LE for given in sides.values()]),
        torch.stack([given.tokens_L for given in sides.values()]),
    )
    origin = [{"side": side, **given.origin, "tokens": _tokens(given)} for side, given in reversed(sides.items())]
    _, mask = next(masks(selections, spec, config, {"counts": origin}))
    if mask.entries == 0:
        raise DataError(
            f"no experts to choose: none is selected at a rate in {positive.name} that differs from that in "
            f"{negative.name} in the direction asked for"
        )
    return mask


def counts_card(mask: Mask, model: str, behaviour: str) -> CountsCard:
    """Return the card of a mask that :func:`mask_from_counts` made for that model and behaviour."""
    origin = mask.provenance
    return CountsCard(
        model=model,
        behaviour=behaviour,
        method=origin["method"],
        selected={name: origin[name] for name in ("score", "n_activated", "n_deactivated")},
        counts=origin["counts"],
        mask_digest=mask.digest,
    )


def _tokens(counts: GivenCounts) -> int | list[int]:
    """The tokens that each layer routed: one number where all layers have the same."""
    tokens: list[int] = counts.tokens_L.tolist()
    return tokens[0] if len(set(tokens)) == 1 else tokens
