"""Torture rounds: a small program is injured at a random point, started again until it ends, and checked.

``python -m tests.torture.rounds --rounds 100 --seed 0 --minutes 90`` prints a line a round and a summary as JSON, and
ends with 1 if a round was not sound. Every other round is one of `mascing run`, the others of `mascing harvest`.
Whatever happens, a program must end with the manifests and the result of an undisturbed one, keep each row once, and
leave no process and no folder behind.
"""

import argparse
import json
import sys
import tempfile
from math import inf
from pathlib import Path

from tests.torture.rounds.torture import summary, torture


def main() -> int:
    """Run the rounds of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=inf, help="begin no round after them")
    parser.add_argument("--testbed", type=Path, help="a trained testbed; otherwise one is trained, in a minute")
    parser.add_argument("--only", default="", help="injuries whose name holds this")
    parser.add_argument("--program", default="", help="run or harvest alone")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="torture-") as name:
        folder = Path(name)
        testbed = given.testbed or _trained(folder / "testbed")
        rounds = torture(folder, testbed, given.rounds, given.seed, 60 * given.minutes, given.only, given.program)
    print(json.dumps(summary(rounds), indent=2))
    return 0 if rounds and not any(each.faults for each in rounds) else 1


def _trained(testbed: Path) -> Path:
    from mascing.testbeds.planted import build

    build(0, testbed)
    return testbed


if __name__ == "__main__":
    sys.exit(main())
