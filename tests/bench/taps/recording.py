"""Speed and peak memory of recording, against the plain decoder forward and against the usual way.

Run from the root: ``OMP_NUM_THREADS=1 python -m tests.bench.taps.recording``.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from tests.bench import peak_memory
from tests.bench.paired import alternate
from tests.bench.taps.random_moe import mixed_prompts, n_tokens, random_moe
from tests.bench.taps.ways_of_recording import plain_forward, recorded_forward, shards, usual


def main() -> None:
    """Print every ratio, each measured within one run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--prompts", type=int, default=128)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--part", choices=["speed", "memory"], help="one part alone")
    parser.add_argument("--peak-of", choices=["shards", "usual"], help="used by this script itself")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.peak_of:
        print(_growth(arguments.peak_of, arguments.prompts))
        return
    if arguments.part != "memory":
        _speeds(arguments.prompts, arguments.turns)
    if arguments.part != "speed":
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
        for count in (n // 2, 2 * n):
            command = [sys.executable, "-m", __spec__.name, "--peak-of", way, "--prompts", str(count)]
            printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            print(f"peak memory above the loaded model, {way}, {count} prompts: {printed.split()[-1]} MB", flush=True)


def _growth(way: str, n: int) -> int:
    """Growth of this process's peak memory in megabytes above the loaded model and the prompts."""
    model, prompts = random_moe(), mixed_prompts(n)
    before = peak_memory.start_anew()
    with TemporaryDirectory() as folder:
        if way == "shards":
            shards(model, prompts, Path(folder))
        else:
            usual(model, prompts, Path(folder, "all.pickle"))
    return peak_memory.megabytes_above(before)


if __name__ == "__main__":
    main()
