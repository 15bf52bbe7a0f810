"""How often the 95% intervals hold the truth on clustered data, as the tables of docs/statistics.md.

Groups are beta-binomial (rates) or Dirichlet-multinomial (paired differences) with the correlation named. A full table
takes a few minutes on one core:

    python tests/bench/interval_coverage.py --repeats 5000
"""

import argparse
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from mascing.statistics.score import tango, wilson

Floats = NDArray[np.float64]

NS = (50, 200, 1000)
# Group size and correlation within groups.
GROUPS = ((1, 0.0), (2, 0.2), (2, 0.5), (5, 0.05), (5, 0.2), (5, 0.5), (10, 0.05), (10, 0.2), (10, 0.5))
RATES = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95)
# Share of conversations that a mask gains and loses.
CHANGES = ((0.05, 0.0), (0.05, 0.05), (0.1, 0.02), (0.2, 0.05), (0.3, 0.3), (0.5, 0.02), (0.8, 0.1))
_AT_ONCE = 2_000_000


def rate_coverage(n: int, size: int, correlation: float, truth: float, repeats: int) -> float:
    """Share of simulated samples whose Wilson interval holds the true rate."""
    inside = 0
    members_N = np.repeat(np.arange(n // size), size)
    for kind_RN in _kinds((truth, 1 - truth), n, size, correlation, repeats):
        low_R, high_R = wilson((kind_RN == 0).astype(float), members_N)
        inside += int(((low_R <= truth) & (truth <= high_R)).sum())
    return inside / repeats


def change_coverage(n: int, size: int, correlation: float, gain: float, loss: float, repeats: int) -> float:
    """Share of simulated samples whose Tango interval holds the true paired difference."""
    inside = 0
    members_N = np.repeat(np.arange(n // size), size)
    for kind_RN in _kinds((gain, loss, 1 - gain - loss), n, size, correlation, repeats):
        low_R, high_R = tango((kind_RN == 0).astype(float) - (kind_RN == 1), members_N)
        inside += int(((low_R <= gain - loss) & (gain - loss <= high_R)).sum())
    return inside / repeats


def _kinds(
    shares: tuple[float, ...], n: int, size: int, correlation: float, repeats: int
) -> Iterator[NDArray[np.intp]]:
    """Kind of each conversation, [R, N], some repeats at a time; the same arguments give the same draws."""
    rng = np.random.default_rng(7)
    step = max(1, _AT_ONCE // n)
    for start in range(0, repeats, step):
        drawn = min(step, repeats - start)
        limits_RNK: Floats = np.broadcast_to(np.cumsum(shares), (drawn, n, len(shares)))
        if correlation > 0:
            concentration = np.maximum(shares, 1e-9) * (1 / correlation - 1)
            rates_RGK = rng.dirichlet(concentration, size=(drawn, n // size))
            limits_RNK = np.repeat(rates_RGK.cumsum(-1), size, axis=1)
        yield (rng.random((drawn, n, 1)) > limits_RNK[..., :-1]).sum(-1)


def main() -> None:
    """Print both tables as markdown, and how many cells are outside 93 to 97."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5000)
    repeats = parser.parse_args().repeats
    outside: list[float] = []

    def cell(coverage: float) -> str:
        percent = round(100 * coverage, 1)
        if not 93 <= percent <= 97:
            outside.append(percent)
            return f"**{percent:.1f}**"
        return f"{percent:.1f}"

    def table(columns: list[str], row: Callable[[int, int, float], list[float]]) -> None:
        print(f"| n | group size | correlation | {' | '.join(columns)} |")
        print("|" + "---|" * (3 + len(columns)))
        for n in NS:
            for size, correlation in GROUPS:
                cells = " | ".join(map(cell, row(n, size, correlation)))
                print(f"| {n} | {size} | {correlation:g} | {cells} |", flush=True)
        print()

    table([f"{rate:g}" for rate in RATES], lambda n, m, rho: [rate_coverage(n, m, rho, p, repeats) for p in RATES])
    table(
        [f"{gain:g} / {loss:g}" for gain, loss in CHANGES],
        lambda n, m, rho: [change_coverage(n, m, rho, gain, loss, repeats) for gain, loss in CHANGES],
    )
    low, high = sum(one < 93 for one in outside), sum(one > 97 for one in outside)
    total = len(NS) * len(GROUPS) * (len(RATES) + len(CHANGES))
    print(f"{total} cells: {low} below 93% (least {min(outside, default=0)}), {high} above 97%; {repeats} repeats each")


if __name__ == "__main__":
    main()
