"""Wall time of the method `active` with one worker and with two, which share its trials.

    OMP_NUM_THREADS=1 python -m tests.bench.methods.shared_trials --folder testbeds/seed-0 --steps 100 5

builds the testbed of seed 0 in the folder unless it is there, prepares a run up to its surrogates, and runs optimise
with `active` alone. Fewer steps leave less to learn beside the trials, as a large model does, whose replies take long.
The masks must be the same, and the load of the machine is printed, as others on it take what the second worker needs.
"""

import argparse
import os
import time
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree
from tempfile import TemporaryDirectory

import torch

from mascing.circuits.methods import METHODS
from mascing.runs.files import candidates_file
from mascing.schemas.config import ComputeConfig, RunConfig
from mascing.schemas.finished import Harvested, Labelled, Trained
from mascing.schemas.settings.method_settings import ActiveConfig
from mascing.storage.manifests import read_shard
from mascing.storage.object_storage import Storage
from mascing.tasks.harvest import harvest
from mascing.tasks.labelling import label
from mascing.tasks.optimise import optimise
from mascing.tasks.prepare import prepare
from mascing.tasks.train import train
from mascing.tasks.workers.pool import Pool
from mascing.testbeds.planted import build
from mascing.testbeds.planted.demo_config import demo_config
from tests.tasks.here_pool import HerePool


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where the testbed is, or is built")
    parser.add_argument("--steps", type=int, nargs="+", default=[ActiveConfig().steps], help="steps of a fit")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if not arguments.folder.exists():
        build(0, arguments.folder)
    with TemporaryDirectory() as folder:
        for steps in arguments.steps:
            before = Before.of(_config(arguments.folder, steps), folder)
            found = {workers: before.measured(workers) for workers in (1, 2)}
            assert found[1] == found[2], "more workers must find the same masks"


@dataclass(frozen=True)
class Before:
    """A run up to its surrogates, in a local folder."""

    config: RunConfig
    folder: str
    labelled: Labelled
    harvested: Harvested
    trained: Trained

    @classmethod
    def of(cls, config: RunConfig, folder: str) -> "Before":
        """Do what ``folder`` does not hold yet."""
        storage, pool = Storage.open(folder), HerePool()
        prepared = prepare(storage, config).manifest
        labelled = label(storage, config, prepared, pool=pool).manifest
        harvested = harvest(storage, config, labelled, pool=pool).manifest
        return cls(config, folder, labelled, harvested, train(storage, config, labelled, harvested, pool=pool).manifest)

    def measured(self, workers: int) -> bytes:
        """Run optimise with so many workers, and print how long it took; returns the candidates."""
        with TemporaryDirectory() as copy, Pool(ComputeConfig(workers=workers), self.config.model) as pool:
            storage = Storage.open(str(copytree(self.folder, copy, dirs_exist_ok=True)))
            pool.map(_nothing, None, range(workers), lambda done, total: None)
            started = time.monotonic()
            optimised = optimise(storage, self.config, self.labelled, self.harvested, self.trained, pool=pool).manifest
            seconds, load = time.monotonic() - started, os.getloadavg()[0]
            steps = self.config.methods.active.steps if self.config.methods.active else 0
            print(f"{steps} steps, {workers} workers: {seconds:.1f} s (load {load:.1f})", flush=True)
            return read_shard(storage, optimised, candidates_file("active"))


def _config(testbed: Path, steps: int) -> RunConfig:
    config = demo_config("jailbreak-defence", 0, str(testbed))
    alone = {name: None for name in METHODS if name != "active"}
    methods = config.methods.model_copy(update={**alone, "active": ActiveConfig(steps=steps)})
    return config.model_copy(update={"methods": methods})


def _nothing(worker: object, shared: None, item: int) -> None:
    """Wait until the workers are there."""


if __name__ == "__main__":
    main()
