"""Bake a mask into a plain checkpoint, if the architecture has a parameter with the same effect."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from math import isfinite
from os import PathLike
from pathlib import Path
from shutil import rmtree
from typing import Any
from uuid import uuid4

from torch import Tensor, nn

from mascing.errors import MaskError
from mascing.masks.mask import Mask
from mascing.masks.rules import BiasRule, OverrideRule
from mascing.masks.unproven import why_unproven_in
from mascing.routers.adapters import has_adapters
from mascing.routers.spec import Router, RouterSpec, find_routers, inspect_routers, uncompiled
from mascing.steering.edits import choice_change_LE
from mascing.steering.reloading import Agreement, compare_reloaded
from mascing.steering.steer import check_fits

CARD = "baked.json"
EXACT = "exact"
SELECTION_ONLY = "selection only"
FORCED_ONLY = "forced experts only"

_SAME = 0.99
"""Share of tokens and layers with the same experts from which on selection is the same, but for ties."""


def bake(model: nn.Module, mask: Mask, out_dir: str | PathLike[str]) -> None:
    """Write ``model`` with ``mask`` in its parameters to ``out_dir``; plain transformers loads the folder.

    Routers with a bias parameter (gpt_oss) take an additive mask exactly, up to rounding in the parameter's dtype.
    Routers that add a correction to their scores take an override mask for selection only: they select experts as when
    steered, but an expert forced on keeps the weight of its uncorrected score. If the scores are a softmax
    (ernie4_5_moe), they take it for the forced experts only: these are on or off as when steered, but the choice among
    the others ignores that the forced ones have left the softmax.

    The folder proves itself before it has its name: it is loaded beside the model, which takes the memory of a second
    model, and its routing is compared with that of the steered model. ``baked.json`` and ``README.md`` in the folder
    say which of the cases was measured, and whether a mask in it is unproven, those that a baked folder already held
    included. The model stays unchanged; the tokenizer is not written. Raises MaskError for every other combination, for
    a mask of another model, for a model with adapters, for a URL, for a folder that is not empty or cannot be written,
    and if the loaded model does not route as the steered one; then nothing is left behind.
    """
    plain = uncompiled(model)
    routers = find_routers(plain)
    spec = inspect_routers(plain)
    check_fits(mask, spec)
    if has_adapters(plain):
        raise MaskError("the model has adapters, which a baked checkpoint cannot hold: merge_and_unload() them first")
    deltas = _deltas(routers, mask)
    folder = _new_folder(out_dir)
    partial = folder.with_name(f".{folder.name}.{uuid4().hex}")
    try:
        partial.mkdir(parents=True)
        with _added(deltas):
            plain.save_pretrained(partial)
        _write_card(partial, mask, spec, compare_reloaded(plain, mask, partial), _baked_before(plain))
        partial.replace(folder)
    except BaseException as error:
        rmtree(partial, ignore_errors=True)
        if isinstance(error, OSError):
            raise MaskError(f"{folder} cannot be written ({error.strerror or error}): name another folder") from error
        raise


def _new_folder(out_dir: object) -> Path:
    if not isinstance(out_dir, str | PathLike) or not os.fspath(out_dir):
        raise MaskError(f"out_dir is the path of a folder, not {out_dir!r}")
    if "://" in (place := os.fspath(out_dir)):
        raise MaskError(f"{place} is a URL: bake into a local folder, then copy it there")
    folder = Path(place).resolve()
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise MaskError(f"{folder} is there already: bake into a new or empty folder")
    return folder


def _baked_before(model: nn.Module) -> dict[str, Any] | None:
    """The card of the baked folder that the model was loaded from; None if it is no such folder."""
    name = getattr(model, "name_or_path", "")
    card = Path(name, CARD)
    if not name or not card.is_file():
        return None
    try:
        found: dict[str, Any] = json.loads(card.read_bytes())
    except ValueError as error:
        raise MaskError(f"{card} is no JSON, so what is baked there is not known: bake the base again") from error
    return found


def _write_card(folder: Path, mask: Mask, spec: RouterSpec, measured: Agreement, before: dict[str, Any] | None) -> None:
    exactness = _exactness(measured)
    card = {
        "exactness": exactness,
        "meaning": _MEANING[exactness],
        "measured": asdict(measured),
        "rule": mask.rule.name,
        "mask": mask.digest,
        "base": spec.to_json(),
        "provenance": mask.provenance,
        "unproven": why_unproven_in([mask.provenance, *_provenances(before)]),
        "baked_before": before,
    }
    (folder / CARD).write_text(json.dumps(card, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(_readme(card), encoding="utf-8")


def _provenances(card: dict[str, Any] | None) -> Iterator[Any]:
    """The provenances of all masks that a card and those before it tell of."""
    while card is not None:
        yield card.get("provenance")
        card = card.get("baked_before")


def _exactness(measured: Agreement) -> str:
    """What the baked model holds of the mask, as measured. Raises MaskError if that is not even the forced experts."""
    if measured.unforced is not None:
        raise MaskError(
            f"the baked model does not hold the mask: {measured.unforced} is not as the mask forces it. Its family "
            "ignores the parameter, or selects by a rule that the parameter cannot force: steer at run time"
        )
    if measured.logit_difference is None or measured.logit_rounding is None:
        return SELECTION_ONLY if measured.same_selection >= _SAME else FORCED_ONLY
    if not isfinite(measured.logit_difference):
        raise MaskError(
            "the baked model does not hold the mask: its router logits are not finite, so the mask is too strong for "
            "the dtype of the parameter that holds it: bake the model in bfloat16 or float32, or steer at run time"
        )
    if measured.logit_difference > measured.logit_rounding:
        raise MaskError(
            f"the baked model does not hold the mask: its router logits differ from the steered model's by up to "
            f"{measured.logit_difference:.3g}. Its family ignores the parameter that holds the mask: steer at run time"
        )
    return EXACT


def _deltas(routers: list[Router], mask: Mask) -> list[tuple[Tensor, Tensor]]:
    """Each parameter that can hold the mask, with the tensor to add to it. Raises MaskError if there is none."""
    biases = [bias for router in routers if (bias := router.owner._parameters.get("bias")) is not None]
    corrections = [router.correction for router in routers if router.correction is not None]
    have_bias, have_correction = (len(parameters) == len(routers) for parameters in (biases, corrections))
    match mask.rule:
        case BiasRule(bias_LE) if have_bias:
            return list(zip(biases, bias_LE, strict=True))
        case OverrideRule(on_LE, off_LE) if have_correction:
            return list(zip(corrections, choice_change_LE(routers, on_LE, off_LE), strict=True))
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
        "among the others and all weights come from scores without the mask."
    ),
}


def _readme(card: dict[str, Any]) -> str:
    measured, before = card["measured"], card["baked_before"]
    unproven = f"**Unproven**: {card['unproven']}\n\n" if card["unproven"] else ""
    earlier = f"- baked before: {before['mask']}\n" if before else ""
    return (
        f"# A model with a baked mask: {card['exactness']}\n\n{unproven}{card['meaning']}\n\n"
        f"The folder was loaded and compared with the steered model: {measured['same_selection']:.1%} of selections "
        f"are the same ({measured['tokens']} tokens in {measured['layers']} layers, each on the same inputs).\n\n"
        f"- base: {card['base']['family']}, fingerprint {card['base']['fingerprint']}\n"
        f"- mask: {card['mask']} ({card['rule']} rule)\n"
        f"{earlier}\n"
        f"All of it is in `{CARD}`. The tokenizer is that of the base model.\n"
    )
