"""The SteerMoE override rule: activated experts go just above a token's best router logit, deactivated ones just
below its worst (arXiv 2509.09660, section 3)."""

import torch
from torch import Tensor


def override(logits: Tensor, activated: Tensor, deactivated: Tensor, epsilon: float | Tensor) -> Tensor:
    """Force experts on and off: activated -> max + eps, deactivated -> min - eps, over the experts of each token.

    ``logits`` [..., E]; ``activated`` and ``deactivated`` bool, broadcastable to it; ``epsilon`` broadcastable to
    [..., 1]. The paper states the rule on s = log_softmax(z). log_softmax subtracts one number from all experts of
    a token, so the rule on z itself gives the same s for every family that reads logits up to a shift, and leaves
    untouched experts their exact logits for the families that do not (sigmoid scores, sparsemixer). The step is
    never smaller than two ulps of the running dtype, else it would round away in bfloat16.
    """
    best = logits.amax(-1, keepdim=True).float()
    worst = logits.amin(-1, keepdim=True).float()
    ulps = 2 * torch.finfo(logits.dtype).eps
    above = best + torch.clamp(ulps * best.abs(), min=epsilon)
    below = worst - torch.clamp(ulps * worst.abs(), min=epsilon)
    edited = torch.where(activated, above, logits.float())
    return torch.where(deactivated, below, edited).to(logits.dtype)


def surely_off(deactivated: Tensor, groups: tuple[int, int], top_k: int) -> bool:
    """Whether the deactivated experts of a layer can never be selected by a router that first keeps some groups.

    ``deactivated`` bool [E], ``groups`` (number of groups, groups kept). True if even the kept groups with the fewest
    experts left have ``top_k`` of them.
    """
    number, kept = groups
    left = (~deactivated).view(number, -1).sum(-1)
    return int(left.sort().values[:kept].sum()) >= top_k


def strongest(wanted: Tensor, priority: Tensor, limit: int) -> Tensor:
    """Keep at most ``limit`` of the wanted experts of each layer, those of the highest priority.

    ``wanted`` bool [L, E], ``priority`` float [L, E]; returns bool [L, E]. Equal priorities go to the lower expert
    index.
    """
    ranked = torch.where(wanted, priority.double(), -torch.inf)
    order = ranked.argsort(dim=-1, descending=True, stable=True)
    kept = torch.zeros_like(wanted)
    kept.scatter_(-1, order[..., :limit], True)
    return kept & wanted
