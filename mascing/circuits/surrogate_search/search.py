"""The paper's search for a sparse steering matrix S that makes the surrogate predict the wanted behaviour.

Source: MASCing (arXiv 2604.27818), expert circuit discovery. `exact_search` follows it step by step; `fast_search`
minimises the same objective by another algorithm.
Shape suffixes: C lambda (one search each), L MoE layer, E expert.
"""

from collections.abc import Mapping, Sequence
from itertools import product

import torch
from torch import Tensor

from mascing.circuits.surrogate_search.exact import exact_search
from mascing.circuits.surrogate_search.fast import fast_search
from mascing.errors import DataError
from mascing.masks.candidates import Candidate
from mascing.masks.mask import Mask
from mascing.routers.spec import RouterSpec
from mascing.schemas.settings.method_settings import MascingConfig, Span
from mascing.surrogates.surrogate import Surrogate
from mascing.traces.trace_set import Traces

NAME = "mascing"
_MODES = {"fast": fast_search, "exact": exact_search}


def candidates(
    surrogates: Mapping[Span, Sequence[Surrogate]],
    traces: Traces,
    spec: RouterSpec,
    sigma: Tensor,
    config: MascingConfig,
    seed: int,
) -> list[Candidate]:
    """Return one candidate per cell of spans x lambdas x thresholds x alphas, with bias ``alpha * sigma[:, None] * S``.

    ``traces`` is the whole training split (all spans); ``sigma`` [L] is the calibrated spread of each layer's logits.
    Thresholds and alphas only cut and scale the S of their lambda.
    """
    proposed = []
    for span in config.spans:
        S_CLE = search(surrogates[span], traces.span(span), sigma, config, seed)
        for weight, S_LE in zip(config.lambdas, S_CLE, strict=True):
            for threshold, alpha in product(config.thresholds, config.alphas):
                cell = {"span": span, "lambda": weight, "threshold": threshold, "alpha": alpha}
                bias_LE = alpha * sigma[:, None] * _without_small(S_LE, threshold)
                mask = Mask.from_bias(bias_LE, spec, {"method": NAME, "mode": config.mode, **cell})
                proposed.append(Candidate(NAME, cell, mask))
    return proposed


def search(members: Sequence[Surrogate], traces: Traces, sigma: Tensor, config: MascingConfig, seed: int) -> Tensor:
    """Return the steering matrices of all lambdas, cut at the least threshold, float32 [C, L, E] in units of sigma.

    Minimises ``mean BCE(f(z + sigma * S), positive) + lambda * |S|_1`` over the negative traces, whose behaviour should
    change, and over the ``members`` f of the ensemble. Raises DataError if there are no negative traces.
    """
    negatives = traces.labelled(0)
    if not any(len(part) for part in negatives.parts()):
        raise DataError("no negative traces: nothing in the training split needs steering")
    S_CLE = _MODES[config.mode](members, negatives, sigma, config, seed)
    return _without_small(S_CLE, min(config.thresholds))


def _without_small(S: Tensor, threshold: float) -> Tensor:
    return torch.where(S.abs() > threshold, S, 0.0)
