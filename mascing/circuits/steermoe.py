"""The risk-difference search: experts that are selected more often where the behaviour shows than where it does not.

Source: SteerMoE (arXiv 2509.09660), paired-example routing-difference detection.
Shape suffixes: T token, L MoE layer, E expert, N sample.
"""

import torch
from torch import Tensor

from mascing.circuits.candidates import Candidate
from mascing.errors import DataError
from mascing.mask import Mask
from mascing.routers import RouterSpec
from mascing.traces import TraceSet
from schemas.config import SteerMoEConfig

NAME = "steermoe"


def candidates(traces: TraceSet, spec: RouterSpec, config: SteerMoEConfig) -> list[Candidate]:
    """One override mask a cell of spans x n_activated x n_deactivated, the empty cell left out.

    No layer activates more than top-k experts or deactivates so many that fewer than top-k remain.
    ``traces`` is the whole training split (both spans).
    """
    found = []
    for span in config.spans:
        delta_LE = risk_difference(traces.span(span), spec.top_k)
        for n_activated in config.n_activated:
            for n_deactivated in config.n_deactivated:
                if n_activated == n_deactivated == 0:
                    continue
                cell = {"span": span, "n_activated": n_activated, "n_deactivated": n_deactivated}
                activated_LE = _strongest(delta_LE, n_activated, per_layer=spec.top_k)
                deactivated_LE = _strongest(-delta_LE, n_deactivated, per_layer=spec.n_experts - spec.top_k)
                provenance = {"method": NAME, **cell}
                mask = Mask.from_override(activated_LE, deactivated_LE, delta_LE, spec, config.epsilon, provenance)
                found.append(Candidate(NAME, cell, mask))
    return found


def risk_difference(traces: TraceSet, top_k: int) -> Tensor:
    """Rate of selection over the tokens of the positive samples minus that over the negative ones, float32 [L, E].

    An expert is selected by a token if its raw logit is among the ``top_k`` of its layer. Raises DataError unless both
    classes have tokens.
    """
    labels_T = traces.labels.repeat_interleave(traces.offsets.diff())
    n_layers, n_experts = traces.z.shape[1:]
    rates = torch.zeros(2, n_layers, n_experts)
    for label, name in enumerate(("negative", "positive")):
        of_label_T = labels_T == label
        if not of_label_T.any():
            raise DataError(f"no {name} traces: a risk difference compares two classes")
        for layer in range(n_layers):
            selected_TK = traces.z[of_label_T, layer].float().topk(top_k, dim=-1).indices
            rates[label, layer] = selected_TK.flatten().bincount(minlength=n_experts) / of_label_T.sum()
    return rates[1] - rates[0]


def _strongest(delta_LE: Tensor, n: int, per_layer: int) -> Tensor:
    """The ``n`` experts of largest positive ``delta``, at most ``per_layer`` in a layer: bool [L, E].

    Where a layer is full, the next best expert of another layer takes the place.
    """
    ranked, order = delta_LE.flatten().sort(descending=True, stable=True)
    room = [per_layer] * delta_LE.shape[0]
    chosen: list[int] = []
    for delta, index in zip(ranked.tolist(), order.tolist(), strict=True):
        if len(chosen) == n or delta <= 0:
            break
        layer = index // delta_LE.shape[1]
        if room[layer] > 0:
            room[layer] -= 1
            chosen.append(index)
    chosen_LE = torch.zeros_like(delta_LE, dtype=torch.bool)
    chosen_LE.view(-1)[chosen] = True
    return chosen_LE
