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
_HALF = Rate(value=0.5, low=0.4, high=0.6, n=100, unscored=0)


def a_mask(name: str) -> Mask:
    """A mask that the name makes another than others."""
    return Mask.from_bias(torch.ones(1, 4), SPEC, {"name": name})


def a_card(mask: Mask, gate: Gate = "pass", reasons: tuple[str, ...] = ()) -> MaskCard:
    """A card with that decision; its numbers mean nothing."""
    return MaskCard(
        model="org/m",
        model_fingerprint=mask.spec.fingerprint,
        behaviour="policy",
        method="gradient",
        selected={},
        data={},
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


def stored(storage: Storage, name: str, made: Mask | None = None, gate: Gate = "pass") -> str:
    """The prefix of a committed mask and its card."""
    made = made or a_mask(name)
    output = StageOutput(storage, MaskStored, name, "0" * 16)
    card = a_card(made, gate, () if gate == "pass" else ("target fails: too little",))
    shards = [output.put(MASK, made.to_bytes(), rows=1), output.put(CARD, card.model_dump_json().encode(), rows=0)]
    return output.commit(shards, MaskFacts(), rows_in=1).prefix
