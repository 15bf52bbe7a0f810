"""Recording against the plain decoder forward, and against the usual way, in speed and peak memory.

Run from the root: ``OMP_NUM_THREADS=1 python tests/bench/recording.py``.
"""

import argparse
import resource
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from paired import alternate
from random_moe import mixed_prompts, n_tokens, random_moe
from ways_of_recording import plain_forward, recorded_forward, shards, usual


def main() -> None:
    """Print every ratio, each measured within one run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--peak-of", choices=["shards", "usual", "neither"], help="measure one way's peak memory")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.peak_of:
        print(_peak_megabytes(arguments.peak_of, arguments.prompts))
        return
    _speeds(arguments.prompts, arguments.turns)
    _peaks(arguments.prompts)


def _speeds(n: int, turns: int) -> None:
    model, prompts = random_moe(), mixed_prompts(n)
    lengths = sorted(len(prompt.token_ids) for prompt in prompts)
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    print(f"{millions:.1f}M parameters, {n} prompts, {n_tokens(prompts)} tokens", flush=True)
    print(f"prompt length: median {lengths[n // 2]}, longest {lengths[-1]}")
    ratio = alternate(lambda: plain_forward(model, prompts), lambda: recorded_forward(model, prompts), turns)
    print(f"recording / plain decoder forward of the same batches: {ratio}", flush=True)
    with TemporaryDirectory() as folder:
        ratio = alternate(
            lambda: usual(model, prompts, Path(folder, "all.pickle")),
            lambda: shards(model, prompts, Path(folder)),
            turns,
        )
    print(f"harvest to Parquet / usual way to a pickle, tokens per second: {ratio}", flush=True)


def _peaks(n: int) -> None:
    for way in ("shards", "usual"):
        peaks = [_peak_in_a_process(way, count) - _peak_in_a_process("neither", count) for count in (n, 2 * n, 4 * n)]
        print(f"peak memory above the loaded model, {way}, {n} / {2 * n} / {4 * n} prompts: " + _listed(peaks))


def _listed(megabytes: list[float]) -> str:
    return " / ".join(f"{value:.0f}" for value in megabytes) + " MB"


def _peak_in_a_process(way: str, n: int) -> float:
    command = [sys.executable, __file__, "--peak-of", way, "--prompts", str(n)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def _peak_megabytes(way: str, n: int) -> float:
    model, prompts = random_moe(), mixed_prompts(n)
    with TemporaryDirectory() as folder:
        if way == "shards":
            shards(model, prompts, Path(folder))
        elif way == "usual":
            usual(model, prompts, Path(folder, "all.pickle"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
