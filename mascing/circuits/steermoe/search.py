"""The risk-difference search: always select experts of the behaviour, never those against it.

Source: SteerMoE (arXiv 2509.09660).
Shape suffixes: L MoE layer, E expert.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import product
from typing import Any, Literal

import torch
from torch import Tensor

from mascing.circuits.steermoe.risk_difference import Selections, count_selections
from mascing.masks.candidates import Candidate
from mascing.masks.groups import group_complaint
from mascing.masks.mask import Mask
from mascing.routers.spec import RouterSpec
from mascing.schemas.settings.method_settings import Span, SteerMoEConfig
from mascing.traces.trace_set import Traces

NAME = "steermoe"


def candidates(traces: Traces, spec: RouterSpec, config: SteerMoEConfig) -> list[Candidate]:
    """Return one override mask per cell of spans x scores x n_activated x n_deactivated, without the empty cell.

    A cell with ``n_deactivated`` 0 only activates; one with ``n_activated`` 0 only deactivates. A layer activates at
    most top-k experts and leaves at least top-k experts active, within the config's caps. ``traces`` is the whole
    training split (all spans). The provenance names each chosen expert with both scores.
    """
    return [candidate for span in config.spans for candidate in _of_span(traces, span, spec, config)]


def masks(
    selections: Selections, spec: RouterSpec, config: SteerMoEConfig, origin: Mapping[str, Any]
) -> Iterator[tuple[dict[str, Any], Mask]]:
    """Yield the cell and the mask of scores x n_activated x n_deactivated, without the empty cell.

    ``origin`` goes into the provenance: where the counts come from.
    """
    most_activated = _at_most(spec.top_k, config.max_activated_per_layer)
    most_deactivated = _at_most(spec.n_experts - spec.top_k, config.max_deactivated_per_layer)
    for name, n_activated, n_deactivated in product(config.scores, config.n_activated, config.n_deactivated):
        if n_activated == n_deactivated == 0:
            continue
        score_LE = selections.score(name)
        activated_LE = strongest_experts(score_LE, n_activated, most_activated, partial(_can_force, spec, "on"))
        deactivated_LE = strongest_experts(-score_LE, n_deactivated, most_deactivated, partial(_can_force, spec, "off"))
        cell = {"score": name, "n_activated": n_activated, "n_deactivated": n_deactivated}
        experts = _evidence(selections, activated_LE, deactivated_LE, spec)
        provenance = {"method": NAME, **origin, **cell, "experts": experts}
        yield cell, Mask.from_override(activated_LE, deactivated_LE, score_LE, spec, config.epsilon, provenance)


def _of_span(traces: Traces, span: Span, spec: RouterSpec, config: SteerMoEConfig) -> Iterator[Candidate]:
    counted = count_selections(traces.span(span), config.pairs)
    origin = {"span": span, "samples": counted.samples, "left_out": counted.left_out}
    for cell, mask in masks(counted, spec, config, origin):
        yield Candidate(NAME, {"span": span, **cell}, mask)


def strongest_experts(
    score_LE: Tensor, n: int, per_layer: int, possible: Callable[[Tensor], bool] = lambda chosen_E: True
) -> Tensor:
    """Return the ``n`` experts with the largest positive scores, at most ``per_layer`` in a layer: bool [L, E].

    ``possible`` says of a layer's chosen experts, bool [E], whether they can be forced together. An expert that its
    layer has no place for is passed over for the next best one.
    """
    ranked, order = score_LE.flatten().sort(descending=True, stable=True)
    room = [per_layer] * score_LE.shape[0]
    chosen_LE = torch.zeros_like(score_LE, dtype=torch.bool)
    for score, index in zip(ranked.tolist(), order.tolist(), strict=True):
        if n == 0 or score <= 0:
            break
        layer, expert = divmod(index, score_LE.shape[1])
        if room[layer] == 0:
            continue
        chosen_LE[layer, expert] = True
        if possible(chosen_LE[layer]):
            room[layer] -= 1
            n -= 1
        else:
            chosen_LE[layer, expert] = False
    return chosen_LE


def _can_force(spec: RouterSpec, forced: Literal["on", "off"], chosen_E: Tensor) -> bool:
    """Whether a layer's router can hold these experts on or off; one that selects groups first is limited."""
    if spec.groups is None:
        return True
    none_E = torch.zeros_like(chosen_E)
    on_E, off_E = (chosen_E, none_E) if forced == "on" else (none_E, chosen_E)
    return group_complaint(on_E, off_E, spec.groups, spec.top_k) is None


def _at_most(possible: int, cap: int | None) -> int:
    return possible if cap is None else min(possible, cap)


def _evidence(
    selections: Selections, activated_LE: Tensor, deactivated_LE: Tensor, spec: RouterSpec
) -> list[dict[str, Any]]:
    """List each chosen expert with both scores, by layer; where they disagree, the odds ratio favours rare experts."""
    difference_LE, ratio_LE = selections.risk_difference(), selections.log_odds_ratio().exp()
    return [
        {
            "layer": spec.layer_ids[layer],
            "expert": expert,
            "forced": "on" if activated_LE[layer, expert] else "off",
            "risk_difference": round(float(difference_LE[layer, expert]), 4),
            "odds_ratio": round(float(ratio_LE[layer, expert]), 4),
        }
        for layer, expert in (activated_LE | deactivated_LE).nonzero().tolist()
    ]
