"""Bake a mask into a plain checkpoint, if the architecture has a parameter with the same effect."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from mascing.errors import MaskError
from mascing.masks.mask import Mask
from mascing.masks.rules import BiasRule, OverrideRule
from mascing.routers.adapters import has_adapters
from mascing.routers.spec import Router, find_routers, inspect_routers, uncompiled
from mascing.steering.edits import choice_change_LE
from mascing.steering.steer import check_fits

CARD = "baked.json"
EXACT = "exact"
SELECTION_ONLY = "selection only"
FORCED_ONLY = "forced experts only"


def bake(model: nn.Module, mask: Mask, out_dir: str | Path) -> None:
    """Write ``model`` with ``mask`` in its parameters to ``out_dir``; plain transformers loads the folder.

    Routers with a bias parameter (gpt_oss) take an additive mask exactly, up to rounding in the parameter's dtype.
    Routers that score by sigmoid and add a correction take an override mask for selection only: they select experts as
    when steered, but an expert forced on keeps the weight of its uncorrected score. Routers that score by softmax and
    add a correction (ernie4_5_moe) take it for the forced experts only: these are on or off as when steered, but the
    choice among the others ignores that the forced ones have left the softmax. ``baked.json`` and ``README.md`` in
    the folder say which case applies. The model stays unchanged; the tokenizer is not written. Raises MaskError for
    every other combination, for a mask of another model, and for a model with adapters.
    """
    plain = uncompiled(model)
    routers = find_routers(plain)
    spec = inspect_routers(plain)
    check_fits(mask, spec)
    if has_adapters(plain):
        raise MaskError("the model has adapters, which a baked checkpoint cannot hold: merge_and_unload() them first")
    exactness, deltas = _deltas(routers, mask)
    folder = Path(out_dir)
    with _added(deltas):
        plain.save_pretrained(folder)
    card = {
        "exactness": exactness,
        "meaning": _MEANING[exactness],
        "rule": mask.rule.name,
        "mask": mask.digest,
        "base": spec.to_json(),
        "provenance": mask.provenance,
    }
    (folder / CARD).write_text(json.dumps(card, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(_readme(card), encoding="utf-8")


def _deltas(routers: list[Router], mask: Mask) -> tuple[str, list[tuple[Tensor, Tensor]]]:
    """The exactness of the baked mask, and each parameter with the tensor to add to it."""
    biases = [bias for router in routers if (bias := router.owner._parameters.get("bias")) is not None]
    corrections = [router.correction for router in routers if router.correction is not None]
    have_bias, have_correction = (len(parameters) == len(routers) for parameters in (biases, corrections))
    match mask.rule:
        case BiasRule(bias_LE) if have_bias:
            return EXACT, list(zip(biases, bias_LE, strict=True))
        case OverrideRule(on_LE, off_LE) if have_correction:
            exactness = SELECTION_ONLY if mask.spec.scoring.startswith("sigmoid") else FORCED_ONLY
            return exactness, list(zip(corrections, choice_change_LE(routers, on_LE, off_LE), strict=True))
        case BiasRule() if have_correction:
            raise MaskError(
                f"a {mask.spec.family} router adds its correction after the scores, so a bias on logits has no equal "
                "there: bake an override mask, or steer at run time"
            )
    raise MaskError(
        f"{mask.spec.family} has no parameter that can hold this mask ({mask.rule.name} rule): it cannot be baked, "
        "steer at run time"
    )


@contextmanager
def _added(deltas: list[tuple[Tensor, Tensor]]) -> Iterator[None]:
    """Add the deltas [E] to the parameters for the length of the context, then restore them.

    A parameter may have more entries than there are experts: longcat corrects its zero experts too.
    """
    originals = [parameter.detach().clone() for parameter, _ in deltas]
    try:
        for parameter, delta in deltas:
            parameter.data.view(-1)[: len(delta)].add_(delta.to(parameter.device))
        yield
    finally:
        for (parameter, _), original in zip(deltas, originals, strict=True):
            parameter.data.copy_(original)


_MEANING = {
    EXACT: "The router's own bias holds the mask: logits, selection and weights are those of the steered model.",
    SELECTION_ONLY: (
        "The correction bias holds the mask: experts are selected as in the steered model, but weights come from "
        "uncorrected scores, so an expert forced on weighs less than when steered."
    ),
    FORCED_ONLY: (
        "The correction bias holds the mask: experts forced on or off are as in the steered model, but the choice "
        "among the others and all weights come from the softmax without the mask."
    ),
}


def _readme(card: dict[str, Any]) -> str:
    return (
        f"# A model with a baked mask: {card['exactness']}\n\n{card['meaning']}\n\n"
        f"- base: {card['base']['family']}, fingerprint {card['base']['fingerprint']}\n"
        f"- mask: {card['mask']} ({card['rule']} rule)\n\n"
        f"All of it is in `{CARD}`. The tokenizer is that of the base model.\n"
    )
