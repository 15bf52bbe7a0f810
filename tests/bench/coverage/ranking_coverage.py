"""How often the ranking's interval of a mean uplift covers it: simulated campaigns whose seeds and groups scatter.

python -m tests.bench.coverage.ranking_coverage [--campaigns 400]
"""

import argparse

import numpy as np

from mascing.campaigns.ranking import Measured, Task, ranked
from tests.mascing.campaigns.made_up import measured

TASKS, GROUPS, EACH = 4, 30, 4


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--campaigns", type=int, default=400)
    campaigns = parser.parse_args().campaigns
    for seeds in (1, 2, 3, 5):
        for scatter in (0.0, 0.1):
            rng = np.random.default_rng(seeds)
            covered = [_covers(rng, seeds, scatter) for _ in range(campaigns)]
            print(
                f"seeds {seeds}, scatter between seeds {scatter}: covered in {100 * np.mean(covered):.1f}%", flush=True
            )


def _covers(rng: np.random.Generator, seeds: int, scatter: float) -> bool:
    tasks: list[Task] = [
        {"a": _cells(rng, seeds, 0.5, scatter), "b": _cells(rng, seeds, 0.3, scatter)} for _ in range(TASKS)
    ]
    (found,) = (each for each in ranked(tasks, samples=400) if each.method == "a")
    return found.uplift.low <= 0.5 <= found.uplift.high


def _cells(rng: np.random.Generator, seeds: int, mean: float, scatter: float) -> list[Measured]:
    """Groups have rates of their own around that of their seed, and seeds around the mean."""
    found = []
    for _ in range(seeds):
        rate = mean + rng.normal(0, scatter)
        of_group = np.clip(rate + rng.normal(0, 0.15, GROUPS), 0, 1)
        hits = rng.binomial(EACH, of_group)
        found.append(measured(list(hits), EACH))
    return found


if __name__ == "__main__":
    main()
