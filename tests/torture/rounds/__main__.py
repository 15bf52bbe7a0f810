"""Torture rounds: a small run of the whole line is injured at a random point, started again until it ends, and checked.

``python -m tests.torture.rounds --rounds 100 --seed 0 --minutes 60`` prints a line a round and a summary as JSON, and
ends with 1 if a round was not sound. Whatever happens, a run must end with the result of an undisturbed one, keep each
row once, and leave no process and no folder behind.
"""

import argparse
import json
import sys
import tempfile
from math import inf
from pathlib import Path

from tests.torture.rounds.torture import torture


def main() -> int:
    """Run the rounds of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=inf, help="begin no round after them")
    parser.add_argument("--testbed", type=Path, help="a trained testbed; otherwise one is trained, in a minute")
    parser.add_argument("--only", default="", help="injuries whose name holds this")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        rounds = torture(Path(folder), given.testbed, given.rounds, given.seed, 60 * given.minutes, given.only)
    bad = [str(each) for each in rounds if each.faults]
    print(json.dumps({"rounds": len(rounds), "sound": len(rounds) - len(bad), "not sound": bad}, indent=2))
    return 1 if bad or not rounds else 0


if __name__ == "__main__":
    sys.exit(main())
