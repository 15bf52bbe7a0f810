"""Whether experts are selected more or less often than before, on the same conversations, clustered by group.

The same weights select the same experts, up to near ties that other arithmetic decides otherwise, one way as often as
the other. So without a shift the differences of each group are as likely with the opposite sign, and flipping the signs
of whole groups at random tells how large a layer's shift gets by chance. The largest over all layers is what each layer
is held against, so that many layers raise no more false alarms than one (Westfall and Young 1993, max-T).

Shapes: P conversation, G group, L MoE layer, E expert, R draw of signs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from mascing.errors import DataError
from mascing.statistics.clustering import Floats, members_of

DRAWS = 999
LEAST_GROUPS = 8
"""With fewer, no draw of signs is rare enough: 7 groups give 64 pairs of them."""

_CHUNK = 100
_SEED = 0


@dataclass(frozen=True)
class RoutingShift:
    """``moved_L`` is the share of a layer's selections that went to other experts, net over all conversations.

    ``p_L`` is the chance of as large a share in any layer without a shift: adjusted for all layers. ``change_LE`` is
    the change of selections per token.
    """

    moved_L: Floats
    p_L: Floats
    change_LE: Floats


def routing_shift(
    before_PLE: NDArray[np.integer],
    after_PLE: NDArray[np.integer],
    tokens_before_P: NDArray[np.integer],
    tokens_after_P: NDArray[np.integer],
    groups: Sequence[str],
) -> RoutingShift:
    """Compare the selections of the same conversations before and after; every conversation has tokens.

    Raises DataError with fewer than LEAST_GROUPS groups, which cannot show anything.
    """
    members_P = members_of(groups, len(before_PLE))
    n_groups = int(members_P.max()) + 1
    if n_groups < LEAST_GROUPS:
        raise DataError(f"{n_groups} groups of probe conversations are too few for a test: it takes {LEAST_GROUPS}")
    n_layers, n_experts = before_PLE.shape[1:]
    change_PC = (after_PLE / tokens_after_P.sum() - before_PLE / tokens_before_P.sum()).reshape(len(before_PLE), -1)
    change_GC = np.zeros((n_groups, change_PC.shape[1]))
    np.add.at(change_GC, members_P, change_PC)
    selected = before_PLE.sum((0, 2)) / tokens_before_P.sum()

    def moved(change_RC: Floats) -> Floats:
        return moved_share(change_RC.reshape(len(change_RC), n_layers, n_experts), selected)

    moved_L = moved(change_GC.sum(0, keepdims=True))[0]
    reached_L = np.zeros(n_layers)
    signs_RG = _signs(n_groups)
    for start in range(0, len(signs_RG), _CHUNK):
        largest_R = moved(signs_RG[start : start + _CHUNK] @ change_GC).max(1)
        # A draw that gives the same up to rounding counts as reached.
        reached_L += (largest_R[:, None] >= moved_L * (1 - 1e-9)).sum(0)
    p_L: Floats = reached_L / len(signs_RG)
    return RoutingShift(moved_L, p_L, change_GC.sum(0).reshape(n_layers, n_experts))


def moved_share(change_RLE: Floats, selected_L: Floats) -> Floats:
    """The share of a layer's selections that went to other experts, [R, L]; a token has ``selected_L`` of them.

    ``change_RLE`` is the change of selections per token.
    """
    share_RL: Floats = np.abs(change_RLE).sum(-1) / (2 * selected_L)
    return share_RL


def _signs(n_groups: int) -> Floats:
    """The observed signs, all 1, and random ones, float64 [R, G]; of few groups every pattern once.

    Opposite patterns move as much. Draws of so few would now and then miss the level that all of them reach.
    """
    if 2 ** (n_groups - 1) <= DRAWS:
        return np.array([(1.0, *rest) for rest in product((1.0, -1.0), repeat=n_groups - 1)])
    random = np.random.default_rng(_SEED)
    return np.vstack([np.ones(n_groups), random.choice((-1.0, 1.0), (DRAWS, n_groups))])
