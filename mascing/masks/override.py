"""The SteerMoE override rule (arXiv 2509.09660, section 3).

It sets activated experts just above a token's best router logit and deactivated ones just below its worst.
"""

import torch
from torch import Tensor


def override(logits: Tensor, activated: Tensor, deactivated: Tensor, epsilon: float | Tensor) -> Tensor:
    """Force experts on and off: activated -> max + eps, deactivated -> min - eps, over the experts of each token.

    ``logits`` [..., E]; ``activated`` and ``deactivated`` bool, broadcastable to it; ``epsilon`` broadcastable to
    [..., 1]. The paper states the rule on s = log_softmax(z). log_softmax subtracts the same number from
    all experts of a token, so the rule on z itself gives the same s for every family that reads logits up to a shift.
    For the other families (sigmoid scores, sparsemixer) it leaves untouched experts their exact logits. The step is at
    least two ulps of the running dtype, because a smaller one would round away in bfloat16.
    """
    best = logits.amax(-1, keepdim=True).float()
    worst = logits.amin(-1, keepdim=True).float()
    ulps = 2 * torch.finfo(logits.dtype).eps
    above = best + torch.clamp(ulps * best.abs(), min=epsilon)
    below = worst - torch.clamp(ulps * worst.abs(), min=epsilon)
    edited = torch.where(activated, above, logits.float())
    return torch.where(deactivated, below, edited).to(logits.dtype)


def surely_off(deactivated: Tensor, groups: tuple[int, int], top_k: int) -> bool:
    """Whether a router that first selects groups can never select a layer's deactivated experts.

    ``deactivated`` is bool [E], ``groups`` is (number of groups, groups selected). True if even the groups with the
    fewest experts left have ``top_k`` experts together.
    """
    n_groups, n_selected = groups
    experts_left = (~deactivated).view(n_groups, -1).sum(-1)
    return int(experts_left.sort().values[:n_selected].sum()) >= top_k


def strongest(wanted: Tensor, priority: Tensor, limit: int) -> Tensor:
    """Select at most ``limit`` of the wanted experts of each layer, those with the highest priority.

    ``wanted`` bool [L, E], ``priority`` float [L, E]; returns bool [L, E]. Ties go to the lower expert index.
    """
    ranked = torch.where(wanted, priority.double(), -torch.inf)
    order = ranked.argsort(dim=-1, descending=True, stable=True)
    first = torch.zeros_like(wanted)
    first.scatter_(-1, order[..., :limit], True)
    return first & wanted
