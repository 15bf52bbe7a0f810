"""Choose the experts of a level's circuit, and the lures beside it.

Shapes: L MoE layer, E expert.
"""

import random
from dataclasses import dataclass

import torch
from torch import Tensor

from mascing.testbeds.planted.levels import Level

N_EXPERTS = 16
N_GROUPS = 4
"""Groups of experts that lie side by side; a router may limit its selection to some of them."""


@dataclass(frozen=True)
class Circuit:
    """Disjoint sets of experts, bool [L, E] each."""

    guard_LE: Tensor
    """They cause refusals."""
    yield_LE: Tensor
    """They cause answers."""
    refusal_lure_LE: Tensor
    """Routing prefers them when a request is refused, but they cause nothing."""
    answer_lure_LE: Tensor
    """The same when it is answered."""

    @property
    def truth_LE(self) -> Tensor:
        """+1 on guard, -1 on yield, 0 elsewhere."""
        return self.guard_LE.float() - self.yield_LE.float()

    @property
    def lures_LE(self) -> Tensor:
        """+1 on the lures of refusals, -1 on those of answers, 0 elsewhere."""
        return self.refusal_lure_LE.float() - self.answer_lure_LE.float()


def choose_experts(level: Level, seed: int) -> Circuit:
    """Choose the experts of every layer from the level's first on, at random.

    With lures, each set lies within one group of its layer, so that a router that selects groups first can select any
    set whole.
    """
    rng = random.Random(f"testbed-experts-{seed}")
    sets = torch.zeros(4, level.n_layers, N_EXPERTS, dtype=torch.bool)
    for layer in range(level.first_layer, level.n_layers):
        for number, chosen in enumerate(_places(level, rng)):
            sets[number, layer, chosen] = True
    return Circuit(*sets)


def _places(level: Level, rng: random.Random) -> list[list[int]]:
    if not level.lures:
        chosen = rng.sample(range(N_EXPERTS), 2 * level.a_side)
        return [chosen[: level.a_side], chosen[level.a_side :], [], []]
    size = N_EXPERTS // N_GROUPS
    sizes = (level.a_side, level.a_side, level.lures, level.lures)
    groups = rng.sample(range(N_GROUPS), N_GROUPS)
    return [rng.sample(range(group * size, (group + 1) * size), n) for group, n in zip(groups, sizes, strict=True)]
