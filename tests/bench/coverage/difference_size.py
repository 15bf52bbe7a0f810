"""How often the test of a paired difference finds one where there is none, as in the table of docs/statistics.md.

Beside it stands McNemar's exact test, which takes conversations for independent. It takes about ten seconds:

    python -m tests.bench.coverage.difference_size --repeats 3000
"""

import argparse

import numpy as np
from scipy.stats import binomtest

from mascing.statistics.score import upper_tail
from tests.bench.coverage.interval_coverage import Floats, kinds

NS = (50, 200)
# Group size and correlation within groups.
GROUPS = ((1, 0.0), (5, 0.2))
# Share of conversations gained, and as many lost.
CHANGES = (0.05, 0.1, 0.3)
LEVEL = 0.05


def sizes(n: int, size: int, correlation: float, change: float, repeats: int) -> tuple[float, float]:
    """Share of simulated samples that the score test and the exact test reject at LEVEL."""
    members_N = np.repeat(np.arange(n // size), size)
    rejected, rejected_exactly = 0, 0
    for kind_RN in kinds((change, change, 1 - 2 * change), n, size, correlation, repeats):
        differences_RN: Floats = (kind_RN == 0).astype(float) - (kind_RN == 1)
        tail_R = upper_tail(differences_RN, members_N)
        rejected += int((2 * np.minimum(tail_R, 1 - tail_R) < LEVEL).sum())
        rejected_exactly += sum(map(_exact, (kind_RN == 0).sum(1).tolist(), (kind_RN == 1).sum(1).tolist()))
    return rejected / repeats, rejected_exactly / repeats


def _exact(gains: int, losses: int) -> bool:
    return gains + losses > 0 and bool(binomtest(gains, gains + losses).pvalue < LEVEL)


def main() -> None:
    """Print the table as markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3000)
    repeats = parser.parse_args().repeats
    print("| n | group size | correlation | gained and lost | rejected | by the exact test |")
    print("|---|---|---|---|---|---|")
    for n in NS:
        for size, correlation in GROUPS:
            for change in CHANGES:
                score, exact = sizes(n, size, correlation, change, repeats)
                print(f"| {n} | {size} | {correlation:g} | {change:g} | {100 * score:.1f}% | {100 * exact:.1f}% |")


if __name__ == "__main__":
    main()
