"""Suppression: the order in which an audit turns experts off, and the mask that does it.

Shape suffixes: L MoE layer, E expert.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from mascing.errors import DataError
from mascing.masks.groups import group_complaint
from mascing.masks.mask import Mask
from mascing.routers.spec import Router, RouterSpec

Place = tuple[int, int]
"""(MoE layer, expert)."""


def suppression_order(score_LE: Tensor, routers: Sequence[Router], first: Sequence[Place] = ()) -> list[Place]:
    """Experts by descending score, after those of ``first``, such that the first n can be off at once for every n.

    The order skips an expert if its layer, or the groups of its layer, would be left with fewer than top-k experts.
    """
    off_LE = torch.zeros_like(score_LE, dtype=torch.bool)
    order = []
    descending = score_LE.flatten().argsort(descending=True, stable=True).tolist()
    for layer, expert in (*first, *(divmod(index, score_LE.shape[1]) for index in descending)):
        if off_LE[layer, expert]:
            continue
        off_LE[layer, expert] = True
        if _enough_left(off_LE[layer], routers[layer]):
            order.append((layer, expert))
        else:
            off_LE[layer, expert] = False
    return order


def suppressing(order: Sequence[Place], n: int, spec: RouterSpec) -> Mask:
    """The override mask that turns off the first ``n`` experts of an order. Raises DataError if it has fewer."""
    if n > len(order):
        raise DataError(
            f"{n} experts cannot be off at once: each layer keeps top-{spec.top_k}, so at most {len(order)} of "
            f"{spec.n_layers * spec.n_experts} can; lower audit.n_suppressed"
        )
    off_LE = torch.zeros(spec.n_layers, spec.n_experts, dtype=torch.bool)
    for layer, expert in order[:n]:
        off_LE[layer, expert] = True
    return Mask.from_override(torch.zeros_like(off_LE), off_LE, torch.zeros(off_LE.shape), spec)


def _enough_left(off_E: Tensor, router: Router) -> bool:
    if int((~off_E).sum()) < router.top_k:
        return False
    nothing_E = torch.zeros_like(off_E)
    return router.groups is None or group_complaint(nothing_E, off_E, router.groups, router.top_k) is None
