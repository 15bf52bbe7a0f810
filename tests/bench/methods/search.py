"""The search of `mascing` against a naive transcription of the published loop, and its memory from 1k to 20k traces.

Run from the root: ``OMP_NUM_THREADS=1 python -m tests.bench.methods.search``. The published loop takes
minutes, so it is timed on a few epochs and scaled; ``--published`` runs the exact mode to its end for its objective.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from mascing.circuits.surrogate_search.search import search
from mascing.schemas.settings.method_settings import MascingConfig
from mascing.surrogates.surrogate import Surrogate, train_surrogate
from mascing.traces.stored import StoredTraces
from mascing.traces.trace_set import TraceSet
from tests.bench import peak_memory
from tests.bench.methods.many_traces import LAYERS, drawn_traces, shard_of
from tests.mascing.circuits.surrogate_search.published_loop import published_search, surrogate_logits

EPOCHS = 100
ROWS = 256


@dataclass(frozen=True)
class Case:
    """A trained surrogate, negative traces to search on, held-out negative traces for evaluation, and sigma."""

    surrogate: Surrogate
    negatives: TraceSet
    held_out: TraceSet
    sigma: Tensor

    def objectives(self, S_CLE: Tensor, lambdas: tuple[float, ...]) -> list[float]:
        """Mean BCE of the held-out negatives towards the positive class plus the L1 term, from the plain formulas."""
        z_NTLE, mask_NT = self.held_out.padded(range(len(self.held_out)))
        values = []
        for weight, S_LE in zip(lambdas, S_CLE, strict=True):
            shifted = z_NTLE + self.sigma[:, None] * S_LE
            logits = surrogate_logits(self.surrogate.state_dict(), shifted, mask_NT.sum(dim=1))
            values.append(float(torch.nn.functional.softplus(-logits).mean() + weight * S_LE.abs().sum()))
        return values


def main() -> None:
    """Print seconds, ratios, objectives and peaks."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--traces", type=int, default=256, help="negative traces to search on")
    parser.add_argument("--seed", type=int, default=0, help="of the traces and the surrogate")
    parser.add_argument("--epochs", type=int, default=2, help="epochs on which the published loop is timed")
    parser.add_argument("--published", action="store_true", help="run the exact mode to its end (minutes)")
    parser.add_argument("--part", choices=["speed", "memory"], help="one part alone")
    parser.add_argument("--peak-of", choices=["train", "search"], help="used by this script itself")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.peak_of:
        print(_growth(arguments.peak_of, arguments.traces))
        return
    if arguments.part != "memory":
        _speeds(case(arguments.traces, arguments.seed), arguments.epochs, arguments.published)
    if arguments.part != "speed":
        _peaks()


def case(n: int, seed: int, lengths: tuple[int, int] = (10, 120)) -> Case:
    """``n`` negatives of 16 layers and 64 experts; a surrogate of another seed may make the search harder."""
    first = 100 * seed
    fitted_on = drawn_traces(min(n, ROWS), first, lengths=lengths)
    negatives, held_out = (
        drawn_traces(count, first + turn, label=0, lengths=lengths) for turn, count in ((1, n), (2, 64))
    )
    return Case(train_surrogate(fitted_on, epochs=6, seed=seed), negatives, held_out, fitted_on.sigma())


def _speeds(problem: Case, epochs: int, published: bool) -> None:
    fast, few = MascingConfig(), MascingConfig(mode="exact", search_epochs=epochs)
    print(
        f"{len(problem.negatives)} negative traces, {len(problem.negatives.z)} tokens, {len(fast.lambdas)} lambdas",
        flush=True,
    )
    samples = [problem.negatives.subset([index]).z for index in range(len(problem.negatives))]
    weights = problem.surrogate.state_dict()
    naive, _ = _timed(lambda: published_search(weights, samples, problem.sigma, 1e-4, epochs, seed=0))
    naive *= EPOCHS / epochs * len(fast.lambdas)
    exact, _ = _timed(partial(searched, problem, few))
    fast_seconds, S_CLE = _timed(partial(searched, problem, fast))
    print(f"published loop: {naive:.1f} s of CPU for {EPOCHS} epochs (scaled from {epochs}, and from one lambda)")
    print(f"exact mode: {naive / (exact * EPOCHS / epochs):.2f}x ({exact * EPOCHS / epochs:.1f} s, scaled likewise)")
    print(f"fast mode: {naive / fast_seconds:.1f}x ({fast_seconds:.1f} s in full)", flush=True)
    print(f"held-out objective, S = 0: {_shown(problem.objectives(0 * S_CLE, fast.lambdas))}")
    print(f"held-out objective, fast mode: {_shown(problem.objectives(S_CLE, fast.lambdas))}", flush=True)
    if published:
        published_config = MascingConfig(mode="exact", search_epochs=EPOCHS)
        seconds, S_CLE = _timed(partial(searched, problem, published_config))
        print(f"held-out objective, exact mode: {_shown(problem.objectives(S_CLE, fast.lambdas))} ({seconds:.1f} s)")


def searched(problem: Case, config: MascingConfig) -> Tensor:
    """S for all lambdas."""
    return search([problem.surrogate], problem.negatives, problem.sigma, config, 0)


def _timed(work: Callable[[], Tensor]) -> tuple[float, Tensor]:
    """Seconds of this process's CPU time, which other processes disturb less than the wall clock."""
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def _shown(values: list[float]) -> str:
    return ", ".join(f"{value:.2e}" for value in values)


def _peaks() -> None:
    for what in ("train", "search"):
        for count in (1_000, 20_000):
            command = [sys.executable, "-m", __spec__.name, "--peak-of", what, "--traces", str(count)]
            printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            print(f"peak memory above the start, {what}, {count} traces: {printed.split()[-1]} MB", flush=True)


def _growth(what: str, n: int) -> int:
    """Growth of this process's peak memory in megabytes while it trains for one epoch or searches on ``n`` traces.

    The shards of ROWS traces are read from disk one by one; all but the last are copies of one file.
    """
    with TemporaryDirectory() as folder:
        sizes = {}
        for start in range(0, n, ROWS):
            rows = min(ROWS, n - start)
            file = Path(folder, f"{rows}.parquet")
            if not file.exists():
                file.write_bytes(shard_of(drawn_traces(rows, seed=rows, lengths=(20, 44))))
            sizes[f"{start}-{file.name}"] = file.stat().st_size
        stored = StoredTraces(lambda name: Path(folder, name.partition("-")[2]).read_bytes(), sizes)
        surrogate = train_surrogate(drawn_traces(64, seed=0, lengths=(20, 44)), epochs=1, seed=0)
        before = peak_memory.start_anew()
        if what == "train":
            train_surrogate(stored, epochs=1, seed=0)
        else:
            search([surrogate], stored, torch.ones(LAYERS), MascingConfig(), 0)
    return peak_memory.megabytes_above(before)


if __name__ == "__main__":
    main()
