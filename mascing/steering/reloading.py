"""Prove a baked folder: load it again and compare its routing with that of the steered model.

Shape suffixes: R row, T token, N row of the flattened batch (R * T), E expert, K selected experts.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mascing.errors import MaskError
from mascing.masks.mask import Mask
from mascing.masks.rules import BiasRule
from mascing.routers.selected_experts import watch_selections
from mascing.routers.spec import find_routers
from mascing.routers.tap import watch_routers
from mascing.steering.forced import ROWS, unforced, varied_tokens
from mascing.steering.steer import steer

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Agreement:
    """How the baked model routes compared with the steered one, if every layer gets what it gets in the steered one.

    ``same_selection`` is the share of tokens and layers with the same experts. ``unforced`` names an expert that is
    not as its override forces it, if there is one. ``logit_difference`` is the largest difference between router
    logits, ``logit_rounding`` what rounding can make of it; both are None for an override, whose forced logits are not
    in the baked model.
    """

    tokens: int
    layers: int
    same_selection: float
    unforced: str | None
    logit_difference: float | None
    logit_rounding: float | None


def compare_reloaded(model: "PreTrainedModel", mask: Mask, folder: Path) -> Agreement:
    """Load ``folder``, unsteered, and compare it with ``model`` under ``mask`` on varied tokens.

    The loaded model is a second one in memory, on the devices of the first, until the comparison is done. Raises
    MaskError if there is no room for it.
    """
    ids_RT = varied_tokens(model, ROWS)
    with steer(model, mask):
        steered = _routing(model, ids_RT, None)
    try:
        reloaded = _load(model, folder)
    except torch.OutOfMemoryError as error:
        raise MaskError(
            "a baked model is proved by loading it beside the steered one, and there is no room for both: bake on a "
            "device with twice the memory, for instance the CPU"
        ) from error
    baked = _routing(reloaded, ids_RT, steered.inputs)
    failed = next(unforced([mask], baked.selected), None)
    difference, rounding = _logit_difference(mask, steered, baked)
    return Agreement(
        tokens=ids_RT.numel(),
        layers=len(baked.selected),
        same_selection=_same(steered.selected, baked.selected),
        unforced=None if failed is None else f"expert {failed.expert} of {find_routers(model)[failed.layer].name}",
        logit_difference=difference,
        logit_rounding=rounding,
    )


@dataclass
class _Routing:
    """Of each MoE layer: what its block gets, its raw router logits [N, E] and the ids that it selects [N, K]."""

    inputs: list[Tensor] = field(default_factory=list)
    logits: list[Tensor] = field(default_factory=list)
    selected: list[Tensor] = field(default_factory=list)


def _routing(model: "PreTrainedModel", ids_RT: Tensor, fed: Sequence[Tensor] | None) -> _Routing:
    """Observe a forward; with ``fed``, each block gets that instead of what the layer before makes."""
    routing = _Routing()
    with ExitStack() as stack:
        stack.enter_context(watch_routers(model, lambda layer, logits_NE: routing.logits.append(logits_NE.detach())))
        stack.enter_context(watch_selections(model, lambda layer, ids_NK: routing.selected.append(ids_NK)))
        for layer, router in enumerate(find_routers(model)):
            block = model.get_submodule(router.name.rpartition(".")[0])
            pass_on = partial(_pass_on, routing, None if fed is None else fed[layer])
            stack.callback(block.register_forward_pre_hook(pass_on, with_kwargs=True).remove)
        with torch.no_grad():
            model.get_decoder()(input_ids=ids_RT.to(model.device), use_cache=False)
    return routing


def _pass_on(
    routing: _Routing, fed: Tensor | None, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Keep the hidden states that a block gets, or replace them: they are its first argument in every family."""
    hidden = args[0] if args else kwargs["hidden_states"]
    routing.inputs.append(hidden.detach())
    if fed is None:
        return args, kwargs
    fed = fed.to(hidden.device)
    return ((fed, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": fed})


def _load(model: "PreTrainedModel", folder: Path) -> "PreTrainedModel":
    placed = getattr(model, "hf_device_map", None) or {"": model.device}
    options: dict[str, Any] = {} if model.device.type == "cpu" else {"device_map": placed}
    return type(model).from_pretrained(folder, dtype=model.dtype, **options).eval()


def _same(steered: Sequence[Tensor], baked: Sequence[Tensor]) -> float:
    """Share of tokens and layers whose experts are the same."""
    same = [
        (ours_NK.sort(dim=1).values == theirs_NK.to(ours_NK).sort(dim=1).values).all(dim=1)
        for ours_NK, theirs_NK in zip(steered, baked, strict=True)
    ]
    return float(torch.stack(same).float().mean())


def _logit_difference(mask: Mask, steered: _Routing, baked: _Routing) -> tuple[float | None, float | None]:
    if not isinstance(mask.rule, BiasRule):
        return None, None
    differences, roundings = [], []
    for raw_NE, baked_NE, bias_E in zip(steered.logits, baked.logits, mask.rule.bias_LE, strict=True):
        wanted_NE = raw_NE + bias_E.to(raw_NE.device)
        differences.append(float((baked_NE.to(raw_NE.device) - wanted_NE).abs().max()))
        # The bias, its sum with the parameter and the logit are each rounded.
        largest = max(float(wanted_NE.abs().max()), float(raw_NE.abs().max()))
        roundings.append(4 * torch.finfo(baked_NE.dtype).eps * largest)
    worst = max(range(len(differences)), key=lambda layer: differences[layer] - roundings[layer])
    return differences[worst], roundings[worst]
