"""Coverage of the 95% intervals of rates and differences that are corrected for a judge's error, as in
docs/statistics.md.

A sample is a calibration (labelled hits and misses, as many of each) and a test set that the same judge reads. For a
difference, each conversation is judged twice, and the judge errs anew on each reply. Conversations in groups of 5 have
a correlation of 0.2, of their true outcomes, so that of the verdicts is smaller. A few minutes on one core:

    python -m tests.bench.coverage.corrected_coverage --repeats 2000
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mascing.statistics.rogan_gladen import Interval, difference_interval, rate_interval
from mascing.statistics.score import tango, wilson
from tests.bench.coverage.interval_coverage import LEAST, MOST, kinds

Floats = NDArray[np.float64]

SENSITIVITIES = (0.7, 0.8, 0.9, 0.95)
SPECIFICITIES = (0.8, 0.9, 0.95, 0.99)
RATES = (0.05, 0.2, 0.5, 0.8, 0.95)
# Share of conversations that a mask gains and loses.
CHANGES = ((0.0, 0.0), (0.1, 0.1), (0.2, 0.05), (0.5, 0.02))
# Labelled hits, and as many labelled misses; conversations of the test set, and the size of their groups.
CALIBRATIONS = (50, 100, 300)
TESTS = ((200, 1), (1000, 1), (200, 5))
CORRELATION = 0.2


def rate_coverage(se: float, sp: float, labelled: int, test: tuple[int, int], truth: float, repeats: int) -> float:
    """Share of samples whose corrected interval holds the true rate."""
    rng = np.random.default_rng(11)
    n, size = test
    members_N = np.repeat(np.arange(n // size), size)
    drawn = kinds((truth, 1 - truth), n, size, CORRELATION if size > 1 else 0.0, repeats)
    verdicts_RN = np.concatenate([judged(rng, kind_RN == 0, se, sp) for kind_RN in drawn])
    inside = 0
    for p, found_se, found_sp in zip(
        intervals(verdicts_RN, members_N), *calibrations(rng, se, sp, labelled, repeats), strict=True
    ):
        _, low, high = rate_interval(p, found_se, found_sp)
        inside += low <= truth <= high
    return inside / repeats


def change_coverage(
    se: float, sp: float, labelled: int, test: tuple[int, int], change: tuple[float, float], repeats: int
) -> float:
    """Share of samples whose corrected interval holds the true difference; half of the unchanged are hits."""
    rng = np.random.default_rng(12)
    (n, size), (gain, loss) = test, change
    members_N = np.repeat(np.arange(n // size), size)
    rest = (1 - gain - loss) / 2
    drawn = kinds((gain, loss, rest, rest), n, size, CORRELATION if size > 1 else 0.0, repeats)
    differences_RN = np.concatenate(
        [
            judged(rng, (kind_RN == 0) | (kind_RN == 2), se, sp) - judged(rng, (kind_RN == 1) | (kind_RN == 2), se, sp)
            for kind_RN in drawn
        ]
    )
    ends = tango(differences_RN, members_N)
    inside = 0
    for d, found_se, found_sp in zip(
        map(Interval, differences_RN.mean(1), *ends), *calibrations(rng, se, sp, labelled, repeats), strict=True
    ):
        _, low, high = difference_interval(d, found_se, found_sp)
        inside += low <= gain - loss <= high
    return inside / repeats


def judged(rng: np.random.Generator, hit_RN: NDArray[np.bool_], se: float, sp: float) -> Floats:
    """What a judge finds, 1 for a hit, [R, N]."""
    return (rng.random(hit_RN.shape) < np.where(hit_RN, se, 1 - sp)).astype(float)


def calibrations(
    rng: np.random.Generator, se: float, sp: float, labelled: int, repeats: int
) -> Iterator[Iterator[Interval]]:
    """The sensitivities that calibrations find, then the specificities."""
    members_N = np.arange(labelled)
    for truth in (se, sp):
        yield intervals((rng.random((repeats, labelled)) < truth).astype(float), members_N)


def intervals(scores_RN: Floats, members_N: NDArray[np.intp]) -> Iterator[Interval]:
    """Wilson's interval of each row."""
    return map(Interval, scores_RN.mean(1), *wilson(scores_RN, members_N))


def main() -> None:
    """Print the tables as markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=2000)
    repeats = parser.parse_args().repeats
    print("| interval | labels of each side | test, group size | mean | cells | within 93 to 97% | least | most |")
    print("|---|---|---|---|---|---|---|---|")
    report("rate", rate_coverage, RATES, repeats)
    report("difference", change_coverage, CHANGES, repeats)


def report(name: str, coverage: Callable[..., float], truths: Sequence[Any], repeats: int) -> None:
    """Print a line for each calibration and test set, then the cells that hold the truth least and most often."""
    every: list[tuple[float, str]] = []
    for labelled, test in product(CALIBRATIONS, TESTS):
        cells = {
            f"{labelled} labels, {test[0]} in groups of {test[1]}, Se {se:g}, Sp {sp:g}, {truth}": 100
            * coverage(se, sp, labelled, test, truth, repeats)
            for se, sp, truth in product(SENSITIVITIES, SPECIFICITIES, truths)
        }
        found = np.array(list(cells.values()))
        within = int(((found >= LEAST) & (found <= MOST)).sum())
        print(
            f"| {name} | {labelled} | {test[0]}, {test[1]} | {found.mean():.1f}% | {len(found)} | {within} "
            f"| {found.min():.1f} | {found.max():.1f} |",
            flush=True,
        )
        every += [(value, cell) for cell, value in cells.items()]
    for value, cell in sorted(every)[:5] + sorted(every)[-5:]:
        print(f"{name}: {value:.1f}% at {cell}", flush=True)


if __name__ == "__main__":
    main()
