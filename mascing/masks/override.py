"""The SteerMoE override rule (arXiv 2509.09660, section 3).

It sets activated experts just above a token's best router logit and deactivated ones just below its worst.
"""

import math

import torch
from torch import Tensor

FORCE = 1e4
"""What moves a corrected score out of reach of all others: the scores themselves are below 1e2."""

_SPARE = 2.0**-10
"""How far scores stay above the 0 that some routers give to the experts of groups that are not kept."""


def override(
    logits: Tensor, activated: Tensor, deactivated: Tensor, epsilon: float | Tensor, lead: float = 0.0
) -> Tensor:
    """Force experts on and off: activated -> max + eps, deactivated -> min - eps, over the experts of each token.

    ``logits`` [..., E]; ``activated`` and ``deactivated`` bool, broadcastable to it; ``epsilon`` broadcastable to
    [..., 1]. ``lead`` raises activated experts further: :func:`group_lead` says where that is needed. The paper states
    the rule on s = log_softmax(z). log_softmax subtracts the same number from all experts of a token, so the rule on z
    itself gives the same s for every family that reads logits up to a shift. For the other families (sigmoid scores, sparsemixer) it leaves untouched experts their exact logits. The step is at
    least two ulps of the running dtype, of the logit and of the score that is made of it (a step of s multiplies a
    probability by e^s), because a smaller one would round away in bfloat16.
    """
    best = logits.amax(-1, keepdim=True).float()
    worst = logits.amin(-1, keepdim=True).float()
    ulps = 2 * torch.finfo(logits.dtype).eps
    epsilon = torch.as_tensor(epsilon, device=logits.device).clamp(min=ulps)
    above = best + torch.maximum(ulps * best.abs(), epsilon) + lead
    below = worst - torch.maximum(ulps * worst.abs(), epsilon)
    edited = torch.where(activated, above, logits.float())
    return torch.where(deactivated, below, edited).to(logits.dtype)


def group_lead(groups: tuple[int, int] | None, corrected: bool, scoring: str) -> float:
    """How far, in logits, an activated expert must lead so that its group is kept.

    A group's score is the sum of the probabilities of its best two experts: one expert outweighs any two if it is
    twice as probable as each. Where a group counts as its best expert, and where a correction forces it, it need not
    lead.
    """
    return 0.0 if groups is None or corrected or scoring == "softmax-groups-topk" else math.log(2)


def corrected_score_change(activated: Tensor, deactivated: Tensor, correction: Tensor, grouped: bool) -> Tensor:
    """What an override adds to the scores by which a router with a correction selects.

    ``activated`` and ``deactivated`` bool [E], ``correction`` [E]; returns float32 [E]. A group's score is the sum of
    its best two experts, so an activated expert weighs twice as much as a deactivated one: it keeps its group even if
    all others in it are off. Some routers give 0 to all experts of the groups that are not kept; a deactivated expert
    there would be ahead of negative scores, so the change raises all scores of a layer alike above 0.
    """
    if not bool((activated | deactivated).any()):
        return torch.zeros(correction.shape)
    lowest, highest = (float(bound) for bound in correction.float().aminmax())
    force = FORCE + 2 * (highest - lowest)
    raised = max(0.0, _SPARE - lowest) if grouped and bool(deactivated.any()) else 0.0
    return force * (2 * activated.float() - deactivated.float()) + raised


def strongest(wanted: Tensor, priority: Tensor, limit: int) -> Tensor:
    """Select at most ``limit`` of the wanted experts of each layer, those with the highest priority.

    ``wanted`` bool [L, E], ``priority`` float [L, E]; returns bool [L, E]. Ties go to the lower expert index.
    """
    ranked = torch.where(wanted, priority.double(), -torch.inf)
    order = ranked.argsort(dim=-1, descending=True, stable=True)
    first = torch.zeros_like(wanted)
    first.scatter_(-1, order[..., :limit], True)
    return first & wanted
