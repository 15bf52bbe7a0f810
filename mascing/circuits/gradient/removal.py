"""The order in which experts are taken away, such that a behaviour falls with as few of them off as can be found.

Shape suffixes: L MoE layer, E expert.
"""

from collections.abc import Sequence

from torch import Tensor

from mascing.circuits.gradient.attribution import attribution
from mascing.masks.suppression import Place, suppressing, suppression_order
from mascing.models.loading import Loaded
from mascing.routers.spec import find_routers, inspect_routers
from mascing.schemas.config import ComputeConfig
from mascing.schemas.conversation import Conversation
from mascing.steering.steer import steer


def removal_order(
    loaded: Loaded, contrast: Sequence[Conversation], sigma: Tensor, batch_size: int, compute: ComputeConfig, most: int
) -> list[Place]:
    """Experts by what their removal takes from the margin, attributed anew with the first 1, 2, 3, 4, 6, 9, 13, … off.

    A circuit backs itself up: some experts raise the margin only once others are gone, and before that a gradient shows
    nothing of them, or the opposite. Each pass adds half as many as are off: with twice as many, experts that the last
    pass overrated take the places of a layer, which keeps top-k. ``most`` is the number of experts whose place in the
    order matters. Raises DataError if no conversation has both replies.
    """
    spec, routers = inspect_routers(loaded.model), find_routers(loaded.model)

    def ranked(first: Sequence[Place]) -> list[Place]:
        effect_LE = attribution(loaded, contrast, sigma, batch_size, compute, only_selected=True).effect_LE
        return suppression_order(effect_LE * sigma[:, None], routers, first)

    order, off = ranked(()), 1
    while off < min(most, len(order)):
        with steer(loaded.model, suppressing(order, off, spec)):
            order = ranked(order[:off])
        off = max(off + 1, off * 3 // 2)
    return order
