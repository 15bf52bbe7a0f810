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
    rates = []
    for label, name in ((1, "positive"), (0, "negative")):
        z_TLE = traces.z[labels_T == label].float()
        if len(z_TLE) == 0:
            raise DataError(f"no {name} traces: a risk difference compares two classes")
        selected_TLE = torch.zeros_like(z_TLE).scatter_(-1, z_TLE.topk(top_k, dim=-1).indices, 1.0)
        rates.append(selected_TLE.mean(dim=0))
    return rates[0] - rates[1]


def _strongest(delta_LE: Tensor, n: int, per_layer: int) -> Tensor:
    """The ``n`` experts of largest positive ``delta``, at most ``per_layer`` in a layer: bool [L, E].

    Where a layer is full, the next best expert of another layer takes the place.
    """
    chosen_LE = torch.zeros_like(delta_LE, dtype=torch.bool)
    n_experts = delta_LE.shape[1]
    for index in delta_LE.flatten().argsort(descending=True, stable=True).tolist():
        layer, expert = divmod(index, n_experts)
        if int(chosen_LE.sum()) == n or delta_LE[layer, expert] <= 0:
            break
        if int(chosen_LE[layer].sum()) < per_layer:
            chosen_LE[layer, expert] = True
    return chosen_LE
