"""A racing round through the engine `vllm` against the same round through `transformers`: replies per second, judged.

Run from the root, where vLLM is installed: ``OMP_NUM_THREADS=1 python -m tests.bench.serving.racing_round``.

Each turn has a seed of its own, which draws masks and conversations; both engines judge the same round, with storage
and judges as in a run, in one process and one after the other, each with batches of its default size and of one that is
faster on a CPU. The model copies a part of its prompt (:mod:`tests.bench.serving.copying`), so that its replies end at
lengths that vary: a batch of transformers waits for its longest reply, and continuous batching does not. A coin judges
the replies: it tells any two apart half of the time.
In float32 the replies must be the same.
"""

import argparse
import random
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from mascing.masks.mask import Mask
from mascing.routers.spec import RouterSpec
from mascing.schemas.config import BehaviourConfig, ComputeConfig, GenerationConfig, ModelConfig, RunConfig
from mascing.schemas.conversation import Conversation
from mascing.schemas.settings.engine_settings import VllmEngine
from mascing.storage.object_storage import Storage
from mascing.tasks.replying.judged import Judging, Row, Steered
from mascing.tasks.streaming.asked import Asked
from tests.bench.serving import copying
from tests.tasks.here_pool import HerePool

JUDGED = ("reply", "outcome")
COIN: Any = {"kind": "tests.tasks.coin_judge:coin"}


def config_of(model: Path, device: str, new: int, batch: int) -> RunConfig:
    """A run on the model with plain replies of at most ``new`` tokens."""
    gpus = float(device != "cpu")
    return RunConfig(
        model=ModelConfig(path=str(model), device=device),
        behaviour=BehaviourConfig(name="b", conversations="-", target=COIN, utility=COIN, protected=COIN),
        generation=GenerationConfig(max_new_tokens=new, batch_size=batch),
        compute=ComputeConfig(workers=1, num_gpus=gpus),
    )


def masks(n: int, spec: RouterSpec, seed: int) -> list[Steered]:
    """Masks that move every expert of every layer."""
    draw = torch.Generator().manual_seed(seed)
    drawn = (torch.randn((spec.n_layers, spec.n_experts), generator=draw) for _ in range(n))
    return [(f"mask-{number}", Mask.from_bias(bias_LE, spec)) for number, bias_LE in enumerate(drawn)]


class Way:
    """An engine in a pool of one worker, which keeps it from turn to turn."""

    def __init__(self, config: RunConfig) -> None:
        self.pool, self.config = HerePool(), config
        self.pool.worker = type(self.pool.worker)(config.compute.num_gpus)
        self.spec = self.pool.worker.engine(config.model, config.engine).spec

    def judge(self, asked: list[Conversation], steered: list[Steered]) -> tuple[float, list[list[Row]]]:
        """The seconds of the round, and the rows of each mask."""
        with TemporaryDirectory() as folder:
            judging = Judging(self.pool, Storage.open(folder), self.config, "c" * 64)
            self.pool.worker._counts.clear()
            started = time.perf_counter()
            judged = judging.judge(Asked.given(asked), steered, lambda done, total: None)
            seconds = time.perf_counter() - started
            return seconds, [[row for table in of_mask.tables() for row in table.to_pylist()] for of_mask in judged]


Ways = dict[str, dict[int, Way]]
"""By engine and size of batch."""


def main() -> None:
    """Print the rates of each turn, and the ratios with their spread."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--masks", type=int, default=32)
    parser.add_argument("--conversations", type=int, default=200)
    parser.add_argument("--new", type=int, default=128)
    parser.add_argument(
        "--batch",
        type=int,
        nargs="+",
        default=[GenerationConfig().batch_size, 128],
        help="generation.batch_size of transformers, its default first",
    )
    parser.add_argument(
        "--seqs",
        type=int,
        nargs="+",
        default=[VllmEngine().max_num_seqs, 512],
        help="engine.max_num_seqs of vLLM, its default first",
    )
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--model", type=Path, help="folder of a model that was trained before; else it is trained now")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        model = options.model or copying.save(Path(folder, "model"))
        plain = {size: config_of(model, options.device, options.new, size) for size in options.batch}
        base = plain[options.batch[0]]
        steered = {size: base.model_copy(update={"engine": VllmEngine(max_num_seqs=size)}) for size in options.seqs}
        ways = {
            "transformers": {size: Way(config) for size, config in plain.items()},
            "vllm": {size: Way(config) for size, config in steered.items()},
        }
        for way in (way for of_engine in ways.values() for way in of_engine.values()):  # unmeasured
            way.judge(copying.conversations(8, random.Random(-1)), masks(2, way.spec, -1))
        turns = [turn(ways, options, seed) for seed in range(options.turns)]
    by_default = [rates["vllm"][options.seqs[0]] / rates["transformers"][options.batch[0]] for rates in turns]
    at_best = [max(rates["vllm"].values()) / max(rates["transformers"].values()) for rates in turns]
    for name, ratios in (("by default", by_default), ("each at its fastest", at_best)):
        print(
            f"vllm / transformers, {options.masks} masks x {options.conversations} conversations, {name}: median "
            f"{statistics.median(ratios):.2f}x, {len(ratios)} turns from {min(ratios):.2f} to {max(ratios):.2f}"
        )


def turn(ways: Ways, options: argparse.Namespace, seed: int) -> dict[str, dict[int, float]]:
    """One round by each, in the opposite order in every other turn; replies per second by engine and size of batch."""
    asked = copying.conversations(options.conversations, random.Random(seed))
    steered = masks(options.masks, ways["vllm"][options.seqs[0]].spec, seed)
    order = [(engine, size) for engine in ways for size in ways[engine]]
    rates: dict[str, dict[int, float]] = {engine: {} for engine in ways}
    first: list[Row] = []
    for engine, size in order if seed % 2 == 0 else reversed(order):
        seconds, judged = ways[engine][size].judge(asked, steered)
        rows = [row for of_mask in judged for row in of_mask]
        first = first or rows
        rates[engine][size] = len(rows) / seconds
        same = {name: sum(a[name] == b[name] for a, b in zip(first, rows, strict=True)) for name in JUDGED}
        ended = sum(not row["cut_off"] for row in rows)
        print(
            f"seed {seed}: {engine} {size}: {rates[engine][size]:.1f} replies/s; of {len(rows)} as in the first way: "
            f"{same['reply']} replies, {same['outcome']} verdicts; {ended} ended before the limit",
            flush=True,
        )
    return rates


if __name__ == "__main__":
    main()
