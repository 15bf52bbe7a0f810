"""What a model's blocks really select: captured at the experts' input, and the same by the naive definition."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from mascing.routers.spec import Router, find_routers
from tests.mascing.routers.families.naive_selection import SELECT, Selection


@dataclass
class Captured:
    """Of one MoE layer: the router's inputs [N, H] and the selection of each token, over all forwards."""

    router: Router
    inputs: list[Tensor] = field(default_factory=list)
    selections: list[Selection] = field(default_factory=list)

    def rate(self, expert: int) -> float:
        """Share of tokens that selected the expert."""
        return sum(expert in selection for selection in self.selections) / len(self.selections)


@contextmanager
def captured(model: Any) -> Iterator[list[Captured]]:
    layers = [Captured(router) for router in find_routers(model)]
    hooks = []
    for layer in layers:
        module = model.get_submodule(layer.router.name)
        # Gemma 4 scales what its router gets before the weight; longcat reads the weight of a module that never runs.
        takes_input = layer.router.owner if type(module).__name__ == "Gemma4TextRouter" else module
        hooks.append(takes_input.register_forward_pre_hook(_keep_input(layer)))
        experts = model.get_submodule(layer.router.name.rpartition(".")[0]).experts
        if type(experts).__name__ == "Llama4TextExperts":
            hooks.append(module.register_forward_hook(_keep_scores(layer)))
        else:
            hooks.append(experts.register_forward_pre_hook(_keep_selection(layer)))
    yield layers
    for hook in hooks:
        hook.remove()


def _keep_input(layer: Captured) -> Any:
    def hook(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        layer.inputs.append(args[0].detach().reshape(-1, args[0].shape[-1]))

    return hook


def _keep_selection(layer: Captured) -> Any:
    def hook(module: nn.Module, args: tuple[Tensor, Tensor, Tensor]) -> None:
        _, experts, weights = args
        for chosen, weighed in zip(experts.tolist(), weights.tolist(), strict=True):
            layer.selections.append(dict(zip(chosen, weighed, strict=True)))

    return hook


def _keep_scores(layer: Captured) -> Any:
    """Llama 4 runs every expert on its share of the input; the share of those not selected is zero."""

    def hook(module: nn.Module, args: Any, output: tuple[Tensor, Tensor]) -> None:
        for scores in output[0].tolist():
            layer.selections.append({expert: score for expert, score in enumerate(scores) if score != 0})

    return hook


def naive(name: str, layer: Captured, config: Any, edits: Sequence[Any]) -> list[Selection]:
    """The selections by definition, from the captured inputs, in float64.

    ``edits`` are one function a token: (router logits, corrections) -> the edited two.
    """
    router = layer.router
    weight = router.weight.detach().double()
    own_bias = router.owner._parameters.get("bias")
    logits = torch.cat(layer.inputs).double() @ weight.T
    if own_bias is not None:
        logits = logits + own_bias.detach().double()
    correction = [0.0] * router.n_columns
    if router.correction_owner is not None and router.correction_name is not None:
        correction = getattr(router.correction_owner, router.correction_name).detach().double().flatten().tolist()
    selections = []
    for row, edit in zip(logits.tolist(), edits, strict=True):
        E = router.n_experts
        edited, corrected = edit(row[:E], correction[:E])
        selections.append(SELECT[name](edited + row[E:], corrected + correction[E:], config))
    return selections


def mismatches(ours: list[Selection], wanted: list[Selection]) -> int:
    assert len(ours) == len(wanted)
    return sum(own.keys() != reference.keys() for own, reference in zip(ours, wanted, strict=True))


def largest_weight_difference(ours: list[Selection], wanted: list[Selection]) -> float:
    return max(abs(own[e] - reference[e]) for own, reference in zip(ours, wanted, strict=True) for e in own)
