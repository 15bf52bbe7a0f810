"""Masks with a card, committed as a run commits them."""

import torch

from mascing.masks.mask import Mask
from mascing.routers.spec import RouterSpec
from mascing.runs.files import CARD, MASK
from mascing.schemas.cards.mask_card import MaskCard
from mascing.schemas.facts import MaskFacts
from mascing.schemas.finished import MaskStored
from mascing.schemas.result import Baseline, Gate, MethodResult, Rate
from mascing.storage.manifests import StageOutput
from mascing.storage.object_storage import Storage

SPEC = RouterSpec("olmoe", (0,), n_experts=4, top_k=2, scoring="softmax", fingerprint="f" * 64)
FINGERPRINT = "3fa9c1d2e4b5" + "0" * 52
"""Of the weights and tokenizer that the masks are for, unless a test says otherwise."""
_HALF = Rate(value=0.5, low=0.4, high=0.6, n=100, unscored=0)


def a_mask(name: str) -> Mask:
    """A mask that the name makes another than others."""
    return Mask.from_bias(torch.ones(1, 4), SPEC, {"name": name})


def a_card(
    mask: Mask,
    gate: Gate = "pass",
    reasons: tuple[str, ...] = (),
    behaviour: str = "policy",
    checkpoint: str = FINGERPRINT,
) -> MaskCard:
    """A card with that decision; its numbers mean nothing."""
    return MaskCard(
        model="org/m",
        model_fingerprint=mask.spec.fingerprint,
        behaviour=behaviour,
        method="gradient",
        selected={},
        data={"checkpoint": checkpoint},
        baseline=Baseline(target_rate=_HALF, utility={}, protected={}, degenerate={}),
        result=MethodResult(
            selected={},
            target_rate=_HALF,
            uplift=_HALF,
            utility={},
            protected={},
            degenerate={},
            degenerate_change=_HALF,
            circuit_precision=None,
            gate=gate,
            reasons=reasons,
        ),
        labels=None,
        robustness={},
        gates={},
        mask_digest=mask.digest,
    )


def stored(
    storage: Storage,
    name: str,
    made: Mask | None = None,
    gate: Gate = "pass",
    behaviour: str = "policy",
    checkpoint: str = FINGERPRINT,
) -> str:
    """The prefix of a committed mask and its card."""
    made = made or a_mask(name)
    output = StageOutput(storage, MaskStored, name, "0" * 16)
    card = a_card(made, gate, () if gate == "pass" else ("target fails: too little",), behaviour, checkpoint)
    shards = [output.put(MASK, made.to_bytes(), rows=1), output.put(CARD, card.model_dump_json().encode(), rows=0)]
    return output.commit(shards, MaskFacts(), rows_in=1).prefix
