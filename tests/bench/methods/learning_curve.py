"""How well a surrogate ranks dev, by the number of traces that it learned from, on stored runs of `mascing demo`.

    OMP_NUM_THREADS=1 python -m tests.bench.methods.learning_curve runs/L2s0 runs/L2s1 ...

Each argument is the storage folder of a testbed. For every run in it and every seed, a surrogate is trained on a random
sample of the training traces, with the default epochs. Prints a row for each size of the samples, over all of them.
"""

import argparse
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from mascing.runs.finished_run import read_inputs
from mascing.runs.readers import recorded_of, traces_of
from mascing.runs.run_folder import RunFolder
from mascing.schemas.config import SurrogateConfig
from mascing.schemas.finished import Harvested, Labelled
from mascing.schemas.settings.method_settings import Span
from mascing.statistics.auc import auc
from mascing.storage.manifests import read_manifest
from mascing.storage.object_storage import Storage
from mascing.surrogates.surrogate import score, train_surrogate
from mascing.traces.trace_set import random_sample

SPAN: Span = "question+prompt"


def main() -> None:
    """Read the command line and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("storage", type=Path, nargs="+", help="storage folders of demos")
    parser.add_argument("--samples", type=int, nargs="+", default=[32, 64, 128, 256, 512, 100_000])
    parser.add_argument("--seeds", type=int, default=3, help="samples and surrogates of each size")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    runs = [(folder, run.parent) for folder in arguments.storage for run in sorted(folder.glob("runs/*/result.json"))]
    print("| traces | fits | AUC on dev: mean (least to most) | seconds of CPU |\n|---|---|---|---|")
    for n in arguments.samples:
        fits = [
            fit
            for folder, run in runs
            for fit in _fits(Storage.open(str(folder)), RunFolder(run.name), n, arguments.seeds)
        ]
        aucs, seconds, used = zip(*fits, strict=True)
        spread = f"{statistics.mean(aucs):.3f} ({min(aucs):.3f} to {max(aucs):.3f})"
        sizes = f"{min(used)} to {max(used)}" if min(used) < max(used) else max(used)
        print(f"| {sizes} | {len(fits)} | {spread} | {statistics.mean(seconds):.1f} |", flush=True)


def _fits(storage: Storage, run: RunFolder, n: int, seeds: int) -> Iterator[tuple[float, float, int]]:
    """AUC on dev, seconds of CPU and traces of each fit."""
    prefixes = read_inputs(storage, run).stages
    labelled = read_manifest(storage, prefixes["label"], Labelled)
    harvested = read_manifest(storage, prefixes["harvest"], Harvested)
    train, dev = (traces_of(storage, harvested, split).span(SPAN) for split in ("train", "dev"))
    rows = recorded_of(storage, labelled, harvested, "dev")
    labels, groups = [int(row.label == "positive") for row in rows], [row.group_id for row in rows]
    for seed in range(seeds):
        sample = random_sample(train, n, 0, torch.Generator().manual_seed(seed))
        started = time.process_time()
        surrogate = train_surrogate(sample, SurrogateConfig().epochs, seed)
        seconds = time.process_time() - started
        yield auc(score(surrogate, dev), labels, groups).value, seconds, len(sample)


if __name__ == "__main__":
    main()
