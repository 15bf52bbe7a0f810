"""Coverage of the 95% intervals on clustered data, as in the tables of docs/statistics.md.

Groups are beta-binomial (rates) or Dirichlet-multinomial (paired differences) with the named correlation. They are
compared with the same intervals computed with the true design effect. All tables take a few minutes on one core:

    python -m tests.bench.coverage.interval_coverage --repeats 5000
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

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
LEAST, MOST = 93, 97
_AT_ONCE = 2_000_000


def rate_coverage(n: int, size: int, correlation: float, truth: float, repeats: int) -> float:
    """Share of simulated samples whose Wilson interval contains the true rate."""
    inside = 0
    members_N = np.repeat(np.arange(n // size), size)
    for kind_RN in kinds((truth, 1 - truth), n, size, correlation, repeats):
        low_R, high_R = wilson((kind_RN == 0).astype(float), members_N)
        inside += int(((low_R <= truth) & (truth <= high_R)).sum())
    return inside / repeats


def change_coverage(n: int, size: int, correlation: float, change: tuple[float, float], repeats: int) -> float:
    """Share of simulated samples whose Tango interval contains the true paired difference, gain minus loss."""
    gain, loss = change
    inside = 0
    members_N = np.repeat(np.arange(n // size), size)
    for kind_RN in kinds((gain, loss, 1 - gain - loss), n, size, correlation, repeats):
        low_R, high_R = tango((kind_RN == 0).astype(float) - (kind_RN == 1), members_N)
        inside += int(((low_R <= gain - loss) & (gain - loss <= high_R)).sum())
    return inside / repeats


def kinds(shares: tuple[float, ...], n: int, size: int, correlation: float, repeats: int) -> Iterator[NDArray[np.intp]]:
    """Kind of each conversation, [R, N], in batches of repeats; the same arguments give the same draws."""
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


@dataclass(frozen=True)
class Kind:
    """A kind of interval: its true values, and its coverage of one of them given n, group size and correlation."""

    name: str
    truths: tuple[Any, ...]
    coverage: Callable[[int, int, float, Any, int], float]


KINDS = (
    Kind("rate", RATES, rate_coverage),
    Kind("paired difference", CHANGES, change_coverage),
)


def table(kind: Kind, repeats: int) -> Floats:
    """Coverage in percent by n, groups and truth."""
    return 100 * np.array(
        [[[kind.coverage(n, *groups, truth, repeats) for truth in kind.truths] for groups in GROUPS] for n in NS]
    )


def with_true_effect(kind: Kind, repeats: int) -> Floats:
    """The same table for intervals that use the true design effect instead of estimating it."""

    def coverage(n: int, size: int, correlation: float, truth: Any, repeats: int) -> float:
        effect = 1 + (size - 1) * correlation
        with patch("mascing.statistics.score.design_effect", lambda values_RN, _: np.full(len(values_RN), effect)):
            return kind.coverage(n, size, correlation, truth, repeats)

    return table(Kind(kind.name, kind.truths, coverage), repeats)


def summary(name: str, cells: Floats) -> Iterator[str]:
    """One line per n."""
    for n, of_n in zip(NS, cells, strict=True):
        low, high = (of_n < LEAST).sum(), (of_n > MOST).sum()
        yield (
            f"| {name} | {n} | {of_n.mean():.1f}% | {of_n.size} | {of_n.size - low - high} "
            f"| {low} (least {of_n.min():.1f}) | {high} (most {of_n.max():.1f}) |"
        )


def rows(cells: Floats) -> Iterator[str]:
    """One line per n and kind of groups, with cells outside 93 to 97 in bold."""
    for n, of_n in zip(NS, cells, strict=True):
        for (size, correlation), values in zip(GROUPS, of_n, strict=True):
            shown = [f"{percent:.1f}" if LEAST <= percent <= MOST else f"**{percent:.1f}**" for percent in values]
            yield f"| {n} | {size} | {correlation:g} | {' | '.join(shown)} |"


def main() -> None:
    """Print the tables as markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5000)
    repeats = parser.parse_args().repeats
    tables = [(kind, table(kind, repeats).round(1)) for kind in KINDS]
    print("| interval | n | mean | cells | within 93 to 97% | below 93% | above 97% |")
    print("|---|---|---|---|---|---|---|")
    for kind, cells in tables:
        print(*summary(kind.name, cells), sep="\n")
        print(*summary(f"{kind.name}, told the truth", with_true_effect(kind, repeats).round(1)), sep="\n")
    for kind, cells in tables:
        print("\n| n | group size | correlation |", *(f" {_shown(truth)} |" for truth in kind.truths), sep="")
        print("|" + "---|" * (3 + len(kind.truths)))
        print(*rows(cells), sep="\n")


def _shown(truth: Any) -> str:
    return " / ".join(f"{share:g}" for share in truth) if isinstance(truth, tuple) else f"{truth:g}"


if __name__ == "__main__":
    main()
