"""Count what a SIGKILL costs: ``python -m tests.torture.costs --seeds 3`` prints a table, and kills as JSON lines."""

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from random import Random
from statistics import median

import yaml

from mascing.schemas.config import HarvestConfig
from mascing.schemas.settings.method_settings import MethodsConfig
from tests.small_run import small_config
from tests.torture.costs.killed import STAGES, Kill, KilledRun, Victim

WORKERS = 2
IN_FLIGHT = 2
"""Units of a worker: the one that it makes, and the next."""
VICTIMS: tuple[Victim, ...] = ("driver", "actor")


def kills(
    testbed: Path,
    folder: Path,
    seed: int,
    victim: Victim,
    stages: tuple[str, ...] = STAGES,
    workers: int = WORKERS,
    prefect_url: str | None = None,
) -> list[Kill]:
    """The kills of one run of several units a stage."""
    small = small_config(testbed, folder, workers)
    # One method that learns surrogates, one that counts, and the one whose optimisation has units.
    few = {name: getattr(small.methods, name) for name in ("mascing", "steermoe", "active", "random")}
    methods = MethodsConfig(**{**dict.fromkeys(MethodsConfig.model_fields), **few})
    config = small.model_copy(update={"harvest": HarvestConfig(rows_per_shard=8), "methods": methods})
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    return KilledRun(path, folder, prefect_url).killed(victim, stages, Random(f"{seed}-{victim}"))


def main() -> int:
    """Kill runs, and say what it cost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--victim", choices=VICTIMS, nargs="+", default=VICTIMS)
    parser.add_argument("--testbed", type=Path, required=True, help="a trained testbed (mascing demo leaves one)")
    given = parser.parse_args()
    found: list[Kill] = []
    for seed in range(given.first_seed, given.first_seed + given.seeds):
        for victim in given.victim:
            with tempfile.TemporaryDirectory(prefix="costs-") as folder:
                found += kills(given.testbed, Path(folder), seed, victim)
            for kill in found[-len(STAGES) :]:
                print(json.dumps({"seed": seed, **asdict(kill)}), flush=True)
    print(f"{'stage':10} {'killed':8} {'kills':>5} {'median':>6} {'most':>5}  units made twice")
    for stage in STAGES:
        for victim in given.victim:
            twice = [kill.twice for kill in found if (kill.stage, kill.victim) == (stage, victim)]
            print(f"{stage:10} {victim:8} {len(twice):5} {median(twice):6g} {max(twice):5}")
    return 0 if all(kill.twice <= IN_FLIGHT * WORKERS for kill in found) else 1


if __name__ == "__main__":
    sys.exit(main())
