"""Coverage of the 95% intervals of an area under the ROC curve, on clustered scores.

Scores are normal; those of the positive class are shifted. A shared term gives each group the named correlation. A full
table takes a few minutes on one core:

    python -m tests.bench.coverage.auc_coverage --repeats 2000
"""

import argparse

import numpy as np
from scipy.special import ndtri

from mascing.statistics.auc import auc

NS = (50, 200, 1000)
AREAS = (0.5, 0.7, 0.9, 0.98)
# Group size, whether a group holds both labels, correlation within groups.
DESIGNS = ((1, True, 0.0), (4, True, 0.0), (4, True, 0.4), (5, False, 0.0), (5, False, 0.4))


def coverage(n: int, size: int, mixed: bool, correlation: float, area: float, repeats: int) -> float:
    """Share of simulated samples whose interval contains the true area."""
    rng = np.random.default_rng(7)
    members_N = np.arange(n) // size
    labels_N = np.arange(n) % 2 if mixed else members_N % 2
    groups = [str(member) for member in members_N]
    shift = np.sqrt(2) * ndtri(area) * labels_N
    inside = 0
    for _ in range(repeats):
        shared_N = rng.normal(size=n)[members_N] * correlation**0.5
        interval = auc(shared_N + rng.normal(size=n) * (1 - correlation) ** 0.5 + shift, labels_N, groups)
        inside += interval.low <= area <= interval.high
    return inside / repeats


def main() -> None:
    """Print the table as markdown; cells outside 93 to 97 in bold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=2000)
    repeats = parser.parse_args().repeats
    print(f"| n | group size | labels of a group | correlation | {' | '.join(f'{area:g}' for area in AREAS)} |")
    print("|" + "---|" * (4 + len(AREAS)))
    for n in NS:
        for size, mixed, correlation in DESIGNS:
            percentages = [100 * coverage(n, size, mixed, correlation, area, repeats) for area in AREAS]
            cells = " | ".join(
                f"{percent:.1f}" if 93 <= percent <= 97 else f"**{percent:.1f}**" for percent in percentages
            )
            print(f"| {n} | {size} | {'both' if mixed else 'one'} | {correlation:g} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
