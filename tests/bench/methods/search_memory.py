"""Peak memory of the searches of `gradient` and `active` from 1k to 20k conversations.

    OMP_NUM_THREADS=1 python -m tests.bench.methods.search_memory

Each search runs in a process of its own, with few steps. Its conversations are made whenever they are read, and traces
lie in shards on disk, all copies of one. So what grows is what the search holds. `gradient` has a tiny random model;
`active` has traces of 16 layers and 64 experts, and trials of a made-up model with as many.
"""

import argparse
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import overload

import torch

from mascing.circuits.active import search as active
from mascing.circuits.active.trials import Trial
from mascing.circuits.gradient import search as gradient
from mascing.masks.mask import Mask
from mascing.routers.spec import RouterSpec, inspect_routers
from mascing.schemas.conversation import Conversation
from mascing.schemas.settings.method_settings import ActiveConfig, GradientConfig
from mascing.schemas.verdict import Outcome
from mascing.traces.stored import StoredTraces
from tests.bench import peak_memory
from tests.bench.methods.many_traces import EXPERTS, LAYERS, TOP_K, drawn_traces, shard_of
from tests.mascing import olmoe_folder

COUNTS = (1_000, 20_000)
SHARD = 250


class Made(Sequence[Conversation]):
    """``n`` conversations, each made when it is read."""

    def __init__(self, n: int, of: str = "target") -> None:
        self._n, self._of = n, of

    def __len__(self) -> int:
        return self._n

    @overload
    def __getitem__(self, index: int) -> Conversation: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Conversation]: ...
    def __getitem__(self, index: int | slice) -> Conversation | Sequence[Conversation]:
        """The conversation at ``index``, or those of a slice."""
        if isinstance(index, slice):
            return [self[number] for number in range(self._n)[index]]
        if not 0 <= index < self._n:
            raise IndexError(index)
        asked = olmoe_folder.conversation(f"{self._of}-{index}", f"do {index} " + "now " * (index % 16))
        replies = {"wanted": "no.", "unwanted": "yes", "label": "negative" if index % 2 else "positive"}
        return asked.model_copy(update={"set": self._of, **replies})


def main() -> None:
    """Print the peak of every search above what its process held before."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peak-of", choices=list(_SEARCHES), help="used by this script itself")
    parser.add_argument("--conversations", type=int, help="used by this script itself")
    arguments = parser.parse_args()
    if arguments.peak_of:
        torch.set_num_threads(1)
        print(_SEARCHES[arguments.peak_of](arguments.conversations))
        return
    for name in _SEARCHES:
        for count in COUNTS:
            command = [sys.executable, "-m", __spec__.name, "--peak-of", name, "--conversations", str(count)]
            printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            print(f"peak memory above the start, {name}, {count} conversations: {printed.split()[-1]} MB", flush=True)


def _gradient(n: int) -> int:
    loaded = olmoe_folder.loaded()
    spec, sigma = inspect_routers(loaded.model), torch.ones(3)
    config = GradientConfig(steps=10, l1=(1e-3,), alphas=(1.0,))
    # What the first steps of any search load and keep is no matter of its conversations.
    gradient.candidates(loaded, spec, Made(100), Made(100, "utility/benign"), sigma, config, seed=0)
    before = peak_memory.start_anew()
    gradient.candidates(loaded, spec, Made(n), Made(n, "utility/benign"), sigma, config, seed=0)
    return peak_memory.megabytes_above(before)


def _active(n: int) -> int:
    config = ActiveConfig(budget=192, rounds=3, members=1, steps=5, l1=(0.02,), alphas=(1.0,))
    spec, sigma = RouterSpec("olmoe", tuple(range(LAYERS)), EXPERTS, TOP_K, "softmax"), torch.ones(LAYERS)
    with TemporaryDirectory() as folder:
        shard = Path(folder, "shard.parquet")
        shard.write_bytes(shard_of(drawn_traces(SHARD, seed=0, lengths=(20, 44))))
        sizes = {str(number): shard.stat().st_size for number in range(n // SHARD)}
        traces = StoredTraces(lambda _: shard.read_bytes(), sizes)
        before = peak_memory.start_anew()
        active.candidates(_tried, traces, Made(n), spec, sigma, config, seed=0)
        return peak_memory.megabytes_above(before)


def _tried(pairs: Sequence[tuple[Conversation, Mask]]) -> Iterator[tuple[int, Trial]]:
    """Trials of a made-up model as large as the traces; the search judges equally many whatever its conversations."""
    for number in range(len(pairs)):
        outcome: Outcome = "miss" if number % 3 else "hit"
        yield number, Trial(outcome, torch.randn(32, LAYERS, EXPERTS).half())


_SEARCHES: dict[str, Callable[[int], int]] = {"gradient": _gradient, "active": _active}


if __name__ == "__main__":
    main()
