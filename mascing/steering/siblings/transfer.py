"""Whether a mask does on a sibling checkpoint what it does on its own model.

Shape suffixes: P probe, L MoE layer, E expert, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from mascing.errors import MaskError
from mascing.masks.mask import Mask, refuse_empty, refuse_unforceable
from mascing.masks.rules import OverrideRule
from mascing.masks.unproven import marked_unproven
from mascing.models.loading import load
from mascing.routers.spec import RouterSpec, inspect_routers
from mascing.schemas.config import ModelConfig
from mascing.schemas.conversation import Conversation
from mascing.steering.siblings.probes import Probed, agreement, probe, router_weights

MAX_TOKENS = 512
"""Tokens that a probe keeps, the last ones."""

KIN = 0.5
"""Cosine of router weights below which a model is a stranger: that of independent weights is about 0."""

LEAST = {"routers": 0.9, "selections": 0.8, "moves": 0.9, "effect": 0.8}
"""From where a part of the report speaks for the mask. Set by judgement, not measured on published fine-tunes."""

LEAST_PROBES, LEAST_TOKENS = 32, 1000
"""Of how much the two models are compared at least. 1000 tokens make 60 selections of each of 128 experts at top-8, and
the mean of 32 cosines that spread by 0.3 has a standard error of 0.05, half of what the limits leave."""

Answer = Literal["follows", "differs", "unknown"]


@dataclass(frozen=True)
class Transfer:
    """The report. ``own`` and ``sibling`` are the two models on the probes, where there are probes, and own is at hand.

    ``routers_L`` is the cosine of the router weights of each layer, None where the mask's own model is not at hand and
    the fingerprints differ. ``rebased`` is the mask for the sibling, marked unproven.
    """

    same_routers: bool
    routers_L: Tensor | None
    own: Probed | None
    sibling: Probed | None
    rebased: Mask

    @property
    def uncompared(self) -> str | None:
        """Why the two models are not compared on the probes, and what to do; None if they are."""
        if self.own is None or self.sibling is None:
            return "give that model by --from, and --conversations, or judge the mask here"
        if len(self.own.ids) < LEAST_PROBES or self.own.tokens < LEAST_TOKENS:
            return (
                f"{self.own.basis} decide nothing: give {LEAST_PROBES} probes or more by --conversations, with "
                f"{LEAST_TOKENS} tokens together"
            )
        if self.own.ids != self.sibling.ids:
            return "the two tokenizers or templates make other tokens of the probes, so judge the mask here"
        if not self.own.moves_LE.any():
            return "on its own model it changes no selection rate of these probes: give others by --conversations"
        return None

    @property
    def measures(self) -> dict[str, float]:
        """What was measured of `LEAST`, each at most 1."""
        found = {} if self.routers_L is None else {"routers": float(self.routers_L.min())}
        if self.own is None or self.sibling is None or self.uncompared is not None:
            return found
        found["selections"] = agreement(self.own.selected_TLK, self.sibling.selected_TLK)
        moves = [each.moves_LE.flatten() for each in (self.own, self.sibling)]
        found["moves"] = float(cosine_similarity(moves[0], moves[1], dim=0))
        effects = [each.effects_PV.float() for each in (self.own, self.sibling)]
        if effects[0].shape == effects[1].shape:
            found["effect"] = float(cosine_similarity(effects[0], effects[1], dim=-1).mean())
        return found

    @property
    def low(self) -> list[str]:
        """The measures that speak against the mask."""
        return [name for name, value in self.measures.items() if value < LEAST[name]]

    @property
    def answer(self) -> Answer:
        """``follows`` if all was measured and nothing is low; ``unknown`` if something could not be measured."""
        if self.low:
            return "differs"
        return "follows" if self.measures.keys() == LEAST.keys() else "unknown"


def transferred(
    mask: Mask, sibling: ModelConfig, own: ModelConfig | None, conversations: Sequence[Conversation]
) -> Transfer:
    """Compare what ``mask`` does on ``sibling`` with what it does on its own model, which is loaded first and let go.

    Raises:
        MaskError: if the mask has no entries, the sibling has other routers (family, layers, experts, selection, or
            weights that are no relatives), or ``own`` is not the mask's model.
        DataError: if a conversation cannot be rendered.
        ModelError: if a model cannot be loaded.
        SteeringError: if the mask cannot steer.
    """
    refuse_empty(mask)
    at_home, weights = _at_home(mask, own, conversations) if own is not None else (None, None)
    loaded = load(sibling)
    spec = inspect_routers(loaded.model)
    _refuse_other_structure(mask, spec)
    there = router_weights(loaded.model)
    same = spec.fingerprint == mask.spec.fingerprint
    routers_L = None if weights is None else _cosines(weights, there)
    if routers_L is not None and float(routers_L.min()) < KIN:
        raise MaskError(
            f"a stranger: its router weights have a cosine of {float(routers_L.min()):.2f} with those of the mask's "
            "model in one layer, so that its experts are others. A mask does not carry over to another model"
        )
    rebased = _rebased(mask, spec)
    seen = probe(loaded, rebased, conversations, MAX_TOKENS) if conversations else None
    return Transfer(same, routers_L, at_home, seen, rebased)


def told(report: Transfer) -> Iterator[str]:
    """The report in words, line by line."""
    if report.same_routers:
        yield "same config and router weights as the mask's own model: the mask fits as it is"
    elif report.routers_L is None:
        yield "other router weights or config than the mask's own model; how far apart is not known without --from"
    if report.routers_L is not None:
        lowest, mean = float(report.routers_L.min()), float(report.routers_L.mean())
        yield f"router weights: cosine {mean:.3f} on average, {lowest:.3f} in the layer that differs most"
    for name, each in (("on its own model", report.own), ("here", report.sibling)):
        if each is not None:
            before, after = each.surprise_S
            yield (
                f"{name}: the mask replaces {each.replaced:.1%} of the selections of {each.basis}; KL {each.kl:.3g} "
                f"nats per token; the probes' own text {before:.3f} -> {after:.3f} nats per token"
            )
    said = {
        "selections": "without the mask the two select the same experts: {:.1%}",
        "moves": "change of the selection rates by the mask: cosine {:.3f} between the two",
        "effect": "change of the first reply token's log-probabilities by the mask: cosine {:.3f} between the two",
    }
    yield from (said[name].format(value) for name, value in report.measures.items() if name in said)


def verdict(report: Transfer) -> str:
    """The answer in one sentence."""
    match report.answer:
        case "follows":
            on = f", on {report.sibling.basis}" if report.sibling is not None else ""
            return (
                f"the mask moves the routing and the replies of this model as those of its own{on}. That is no proof "
                "of the behaviour: judge it here before it serves"
            )
        case "differs":
            names = {
                "routers": "router weights",
                "selections": "selections",
                "moves": "changes of selections",
                "effect": "changes of the replies",
            }
            return (
                f"do not trust the mask here: {' and '.join(names[name] for name in report.low)} differ too much from "
                "those of its own model. Make a mask on this model"
            )
        case "unknown":
            why = report.uncompared or "the two have vocabularies of other sizes, so judge the mask here"
            return f"nothing shows that the mask does here what it does on its own model: {why}"


def _at_home(mask: Mask, own: ModelConfig, conversations: Sequence[Conversation]) -> tuple[Probed | None, list[Tensor]]:
    loaded = load(own)
    spec = inspect_routers(loaded.model)
    if spec.fingerprint != mask.spec.fingerprint:
        raise MaskError(
            f"--from is not the model that the mask was made for: its fingerprint is {spec.fingerprint[:12]}, the "
            f"mask's {mask.spec.fingerprint[:12]} (config and router weights)"
        )
    seen = probe(loaded, mask, conversations, MAX_TOKENS) if conversations else None
    return seen, router_weights(loaded.model)


def _refuse_other_structure(mask: Mask, spec: RouterSpec) -> None:
    made_for = replace(mask.spec, fingerprint=spec.fingerprint)
    for name in ("family", "layer_ids", "n_experts", "top_k", "scoring", "groups"):
        has, needs = getattr(spec, name), getattr(made_for, name)
        if has != needs:
            raise MaskError(
                f"a stranger: its {name} is {has}, that of the mask's model {needs}. A mask does not carry over to "
                "another model"
            )


def _rebased(mask: Mask, spec: RouterSpec) -> Mask:
    if isinstance(mask.rule, OverrideRule):
        refuse_unforceable(mask.rule, spec)
    provenance = {"method": "transfer", "part": {"digest": mask.digest, **mask.provenance}}
    return marked_unproven(Mask(spec, mask.rule, provenance), "transferred to another checkpoint and not judged there")


def _cosines(own: Sequence[Tensor], other: Sequence[Tensor]) -> Tensor:
    if [each.shape for each in own] != [each.shape for each in other]:
        raise MaskError("a stranger: its routers read hidden states of another width")
    return torch.stack([cosine_similarity(a.flatten(), b.flatten(), dim=0) for a, b in zip(own, other, strict=True)])
