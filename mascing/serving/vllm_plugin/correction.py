"""Force experts on and off where a router selects by corrected scores.

Its kernels take one correction for all tokens of a step, and masks differ by token. So the tokens that an override acts
on are selected here once more, by the rule of the router, with a correction of their own; all others keep what vLLM
selected. Shape suffixes: N token of the step, E expert, G group, K selected expert.
"""

from typing import Any

import torch
from torch import Tensor

from mascing.errors import SteeringError
from mascing.serving.vllm_plugin.layers import RoutedLayer
from mascing.serving.vllm_plugin.slots import Slots


def force_selection(layer: RoutedLayer, number: int, slots: Slots) -> None:
    """Shadow the router's selection in a layer with a correction. Raises SteeringError if its rule is another one."""
    router, correction = layer.runner.router, layer.correction
    if correction is None:
        return
    _prove_rule(layer, correction)
    plain = router._compute_routing

    def routed(hidden_states: Tensor, router_logits: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        weights_NK, ids_NK = plain(hidden_states, router_logits, *args, **kwargs)
        change_NE = slots.choice_change(number, router_logits.shape[0])
        if change_NE is None:
            return weights_NK, ids_NK
        forced_N1 = (change_NE != 0).any(dim=1, keepdim=True)
        own_weights_NK, own_ids_NK = select(router, router_logits, correction + change_NE)
        return (
            torch.where(forced_N1, own_weights_NK.to(weights_NK.dtype), weights_NK),
            torch.where(forced_N1, own_ids_NK.to(ids_NK.dtype), ids_NK),
        )

    router._compute_routing = routed


def select(router: Any, logits_NE: Tensor, correction_NE: Tensor) -> tuple[Tensor, Tensor]:
    """Weights and ids [N, K] by corrected scores; the weights are of the scores before the correction (DeepSeek-V3)."""
    logits_NE = logits_NE.float()
    scores_NE = logits_NE.sigmoid() if router.scoring_func == "sigmoid" else logits_NE.softmax(dim=-1)
    choice_NE = scores_NE + correction_NE
    number, kept = getattr(router, "num_expert_group", None) or 1, getattr(router, "topk_group", None) or 1
    if kept < number:
        choice_NGE = choice_NE.view(len(choice_NE), number, -1)
        best_NG = choice_NGE.topk(min(2, choice_NGE.shape[2]), dim=-1).values.sum(dim=-1)
        left_out_NG = torch.ones_like(best_NG, dtype=torch.bool)
        left_out_NG.scatter_(1, best_NG.topk(kept, dim=-1).indices, False)
        choice_NE = choice_NGE.masked_fill(left_out_NG[..., None], -torch.inf).flatten(1)
    ids_NK = choice_NE.topk(router.top_k, dim=-1).indices
    weights_NK = scores_NE.gather(1, ids_NK)
    if router.renormalize:
        weights_NK = weights_NK / weights_NK.sum(dim=-1, keepdim=True)
    return weights_NK * router.routed_scaling_factor, ids_NK


def _prove_rule(layer: RoutedLayer, correction: Tensor) -> None:
    """Hold the rule above against the router itself, on logits that vary."""
    router = layer.runner.router
    generator = torch.Generator().manual_seed(0)
    logits_NE = torch.randn(64, layer.width, generator=generator).to(correction.device)
    hidden_NH = torch.zeros(64, 1, device=correction.device)
    weights_NK, ids_NK = router._compute_routing(hidden_NH, logits_NE.clone(), None)
    own_weights_NK, own_ids_NK = select(router, logits_NE, correction.expand(64, -1))
    by_id, own_by_id = ids_NK.long().argsort(dim=1), own_ids_NK.argsort(dim=1)
    alike = torch.equal(ids_NK.long().gather(1, by_id), own_ids_NK.gather(1, own_by_id)) and torch.allclose(
        weights_NK.float().gather(1, by_id), own_weights_NK.float().gather(1, own_by_id), rtol=1e-4, atol=1e-6
    )
    if not alike:
        raise SteeringError(
            f"the router of {layer.name} selects by another rule than {router.scoring_func} scores with a correction, "
            'so experts cannot be forced there: turn overrides off ("overrides": false)'
        )
