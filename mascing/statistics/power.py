"""Simulate the chance that a mask of a given effect passes its gates, and the conversations that this takes.

Every simulated test split goes through the interval that the gates use, so the plan matches the decision.
Shape suffixes: R repeat, N conversation, G group.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil

import numpy as np

from mascing.errors import ConfigError
from mascing.statistics.clustering import Floats, Members
from mascing.statistics.score import tango

POWER = 0.8
"""The chance of passing a gate that a plan asks for unless it is told another."""

CORRELATION = 0.2
"""The correlation of changes within a group that a plan assumes unless it is told another."""

REPEATS = 1000
MOST = 20_000
_SEED = 0
_CHUNK = 2_000_000


@dataclass(frozen=True)
class Effect:
    """The assumed effect of a mask on the conversations of a set, as shares of 1.

    ``gains`` go from miss to hit and ``losses`` from hit to miss. Conversations come in groups of ``group_size``, whose
    changes have the correlation ``correlation``.
    """

    gains: float
    losses: float
    group_size: int
    correlation: float

    def __post_init__(self) -> None:
        """Raise ConfigError if the shares are impossible."""
        if self.gains < 0 or self.losses < 0 or self.gains + self.losses > 1:
            raise ConfigError(
                f"gains of {self.gains:g} and losses of {self.losses:g} cannot be shares of the same conversations: "
                "both must be 0 or more, and 1 or less together"
            )
        if self.group_size < 1 or not 0 <= self.correlation < 1:
            raise ConfigError(
                f"group size must be 1 or more and correlation from 0 to below 1, not {self.group_size} and "
                f"{self.correlation:g}"
            )


def power(effect: Effect, n: int, least: float) -> float:
    """Return the share of test splits of ``n`` conversations whose lower bound of change reaches ``least``.

    The change is paired; ``n`` is rounded up to whole groups. Groups are Dirichlet-multinomial. The same arguments give
    the same share.
    """
    return float(np.mean([reached for chunk in _lower_bounds(effect, n) for reached in chunk >= least]))


def conversations_needed(effect: Effect, least: float, wanted_power: float, most: int = MOST) -> int | None:
    """Return the fewest conversations, in whole groups, whose lower bound reaches ``least`` as often as wanted.

    Returns None if ``most`` are too few; the effect is then too close to the limit. The search doubles and halves, so
    the number is exact up to the simulation's error: one point of power at 1000 repeats.
    """
    if effect.gains - effect.losses <= least:
        return None

    def enough(n: int) -> bool:
        return power(effect, n, least) >= wanted_power

    return fewest(enough, effect.group_size, most)


def fewest(enough: Callable[[int], bool], group_size: int, most: int = MOST) -> int | None:
    """Return the fewest conversations, in whole groups, for which ``enough`` holds; None if ``most`` are too few.

    ``enough`` must go on holding for more. The number is exact up to 2%.
    """
    most_groups = ceil(most / group_size)
    high = 2
    while not enough(high * group_size):
        if high >= most_groups:
            return None
        high = min(2 * high, most_groups)
    low = high // 2
    while high - low > max(1, high // 50):
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle * group_size) else (middle, high)
    return high * group_size


def _lower_bounds(effect: Effect, n: int) -> Iterator[Floats]:
    """Yield the lower bounds of a few repeats at a time to save memory."""
    rng = np.random.default_rng(_SEED)
    n_groups = ceil(n / effect.group_size)
    members_N: Members = np.repeat(np.arange(n_groups), effect.group_size)
    at_once = max(1, _CHUNK // len(members_N))
    repeats = REPEATS if effect.gains or effect.losses else 1  # without an effect, all test splits are equal
    for start in range(0, repeats, at_once):
        low_R, _ = tango(_differences(rng, effect, min(at_once, repeats - start), n_groups), members_N)
        yield low_R


def _differences(rng: np.random.Generator, effect: Effect, repeats: int, n_groups: int) -> Floats:
    """Simulate changes of -1, 0 or +1, [R, N]."""
    shares = np.array([effect.gains, effect.losses, 1 - effect.gains - effect.losses])
    if effect.correlation == 0 or effect.group_size == 1:
        limits_RG2 = np.broadcast_to(shares.cumsum()[:2], (repeats, n_groups, 2))
    else:
        # A Dirichlet distribution does not accept a share of zero.
        rates_RG3 = rng.dirichlet(np.maximum(shares, 1e-9) * (1 / effect.correlation - 1), (repeats, n_groups))
        limits_RG2 = rates_RG3.cumsum(-1)[..., :2]
    limits_RN2 = np.repeat(limits_RG2, effect.group_size, axis=1)
    drawn_RN = rng.random(limits_RN2.shape[:2])
    gained_RN = drawn_RN < limits_RN2[..., 0]
    lost_RN = ~gained_RN & (drawn_RN < limits_RN2[..., 1])
    differences_RN: Floats = gained_RN.astype(float) - lost_RN
    return differences_RN
