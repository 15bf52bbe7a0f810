"""How often the test of the routing raises a false alarm, and how often it finds a shift: `python -m` it.

Without a shift, conversations have near ties that go either way, many or none, and groups of two share them. With one,
a share of the selections of one layer out of eight goes from half of its experts to the other half.
"""

import numpy as np
from numpy.typing import NDArray

from mascing.statistics.routing_shift import routing_shift

LAYERS, EXPERTS, TOKENS, PROBES = 8, 16, 60, 64
REPEATS = 400


def selections(random: np.random.Generator) -> NDArray[np.int64]:
    """Selections of two experts per token, [P, L, E]; each conversation has a taste of its own."""
    tastes = random.dirichlet(np.full(EXPERTS, 0.5), (PROBES, LAYERS))
    return random.multinomial(2 * TOKENS, tastes)


def again(random: np.random.Generator, before: NDArray[np.int64], shift: float) -> NDArray[np.int64]:
    """The same conversations with other near ties, and ``shift`` of the selections of layer 0 elsewhere."""
    after = before.copy()
    for group in range(PROBES // 2):
        ties = random.poisson(random.choice((0, 12)))
        for _ in range(ties):
            row, layer, expert = 2 * group + random.integers(2), random.integers(LAYERS), random.integers(EXPERTS)
            if after[row, layer, expert]:
                after[row, layer, expert] -= 1
                after[row, layer, (expert + random.choice((-1, 1))) % EXPERTS] += 1
    half = EXPERTS // 2
    moved_PE = random.binomial(after[:, 0, :half], 2 * shift)
    after[:, 0, :half] -= moved_PE
    after[:, 0, half:] += moved_PE
    return after


def share(shift: float, alpha: float, min_shift: float) -> float:
    """The share of repeats in which a layer is significant and moved by ``min_shift``."""
    random, found = np.random.default_rng(0), 0
    tokens_P, groups = np.full(PROBES, TOKENS), [str(number // 2) for number in range(PROBES)]
    for _ in range(REPEATS):
        before = selections(random)
        result = routing_shift(before, again(random, before, shift), tokens_P, tokens_P, groups)
        found += bool(((result.p_L < alpha) & (result.moved_L >= min_shift)).any())
    return found / REPEATS


if __name__ == "__main__":
    for name, shift, alpha, min_shift in (
        ("false, p < 0.05 alone", 0.0, 0.05, 0.0),
        ("false, p < 0.01 alone", 0.0, 0.01, 0.0),
        ("false, as a schedule alarms", 0.0, 0.01, 0.05),
        ("2% of a layer moved, p < 0.01 alone", 0.02, 0.01, 0.0),
        ("2% of a layer moved, as a schedule alarms", 0.02, 0.01, 0.05),
        ("7% of a layer moved, as a schedule alarms", 0.07, 0.01, 0.05),
    ):
        print(f"{name:<45} {share(shift, alpha, min_shift):.3f}", flush=True)
