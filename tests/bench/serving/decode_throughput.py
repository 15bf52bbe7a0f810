"""What masks cost a model that vLLM serves: tokens per second with the plugin against those without it.

Run from the root, where vLLM is installed: ``OMP_NUM_THREADS=1 python -m tests.bench.serving.decode_throughput``.

The ways are engines of one process, each loaded with the same model of about 100M parameters, and reply to the same
stream of requests, a short prompt and ``--new`` tokens each, all at once. ``stock`` does not load the plugin at all,
``off`` loads it and is not told to steer, ``one`` steers all requests by one mask, ``many`` each by its own, and
``captured`` records the router logits of every token. Each way has a thread, whose CPU time is what counts, from the
masks to the last reply. One thread runs at a time and hands over at each step of its engine, so that what else slows
the machine down slows all ways alike. Two engines with the same weights still differ by where these lie in memory, as
``off`` shows; so the time that is spent in the plugin's own functions is told too, as a share of the way's. The seeds
draw prompts and masks. ``--graphs`` compiles, as vLLM does by default; a token of the ways that steer nothing that
differs from stock's ends the run.
"""

import argparse
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.stats import bootstrap

from mascing.masks.mask import Mask
from mascing.serving.vllm_plugin.offline import IN_THIS_PROCESS, Request, SteeredVllm
from mascing.serving.vllm_plugin.plugin_settings import KEY
from mascing.serving.vllm_plugin.registration import register
from tests.mascing import olmoe_folder

SIZES: dict[str, Any] = {
    "hidden_size": 512,
    "intermediate_size": 256,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_experts": 32,
    "num_experts_per_tok": 4,
    "max_position_embeddings": 256,
    "initializer_range": 0.1,
}


class Way(NamedTuple):
    """An engine, and the tokens of its replies to prompts, with masks drawn from a seed."""

    engine: Any
    reply: Callable[[list[list[int]], int], list[list[int]]]
    plugin: "Spent"


class Spent:
    """Counts the CPU seconds of this thread that are spent within some functions."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._within = False

    def watch(self, owner: Any, *names: str) -> None:
        """Count these methods of an object; one that another of them calls is counted there."""
        for name in names:
            setattr(owner, name, partial(self._timed, getattr(owner, name)))

    def _timed(self, plain: Callable[..., Any], *args: Any) -> Any:
        if self._within:
            return plain(*args)
        self._within, began = True, time.thread_time()
        try:
            return plain(*args)
        finally:
            self._within = False
            self.seconds += time.thread_time() - began


class Measured(NamedTuple):
    """Tokens of replies per second of CPU time, and the share of that time which the plugin took."""

    rate: float
    share: float


def main() -> None:
    """Print each way's tokens per second in each turn, and how they compare with stock's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=256)
    parser.add_argument("--prompt", type=int, default=16)
    parser.add_argument("--new", type=int, default=64)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--graphs", action="store_true")
    parser.add_argument("--device-memory", type=int, default=1 << 30, help="bytes of the key-value cache of each way")
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        model = olmoe_folder.save(Path(folder, "model"), **SIZES)
        ways = ways_of(str(model), options)
        take(ways, options, -1)  # to warm up
        turns = [take(ways, options, turn) for turn in range(options.turns)]
    for name in list(ways)[1:]:
        ratios = compared([turn[name].rate for turn in turns], [turn["stock"].rate for turn in turns])
        shares = sorted(100 * turn[name].share for turn in turns)
        print(f"{name}: {ratios}; in the plugin {np.median(shares):.2f} % ({shares[0]:.2f} to {shares[-1]:.2f})")


def compared(rates: list[float], stock: list[float]) -> str:
    """The median of the ratios of pairs, with its interval and their range."""
    ratios = np.divide(rates, stock)
    within = bootstrap((ratios,), np.median, rng=0).confidence_interval
    turns = f"{len(ratios)} turns from {ratios.min():.3f} to {ratios.max():.3f}"
    return f"median {np.median(ratios):.3f} x stock, 95 % interval {within.low:.3f} to {within.high:.3f}, {turns}"


def ways_of(model: str, options: argparse.Namespace) -> dict[str, Way]:
    """The ways by name."""
    given = {
        "dtype": "float32",
        "enforce_eager": not options.graphs,
        "distributed_executor_backend": "uni",
        "max_model_len": 256,
        "max_num_seqs": options.requests,
        "kv_cache_memory_bytes": options.device_memory,
    }
    os.environ.update(IN_THIS_PROCESS, VLLM_PLUGINS="")
    stock = plain(model, given, options)
    register()
    dtype = given.pop("dtype")
    one, many = (SteeredVllm(model, dtype=str(dtype), slots=options.requests, engine_args=given) for _ in range(2))
    captured = SteeredVllm(model, dtype=str(dtype), slots=1, capture=True, engine_args=given)
    given["dtype"] = dtype

    def under(engine: SteeredVllm, masks: int) -> Way:
        def reply(prompts: list[list[int]], seed: int) -> list[list[int]]:
            drawn = [mask(engine, seed * options.requests + number) for number in range(masks)]
            requests = [Request(prompt, drawn[n % masks] if masks else None) for n, prompt in enumerate(prompts)]
            done = dict(engine.generate(requests, max_new_tokens=options.new))
            return [done[number].token_ids for number in range(len(prompts))]

        return Way(engine._llm.llm_engine, reply, spent_in(engine))

    return {
        "stock": stock,
        "off": plain(model, given, options),
        "one": under(one, 1),
        "many": under(many, options.requests),
        "captured": recorded(captured, options),
    }


def plain(model: str, given: dict[str, Any], options: argparse.Namespace) -> Way:
    """vLLM's own way, which no mask reaches."""
    from vllm import LLM, SamplingParams

    llm = LLM(model, **given)
    sampling = SamplingParams(temperature=0, max_tokens=options.new, ignore_eos=True, detokenize=False)

    def reply(prompts: list[list[int]], seed: int) -> list[list[int]]:
        replies = llm.generate([{"prompt_token_ids": prompt} for prompt in prompts], sampling, use_tqdm=False)
        return [list(reply.outputs[0].token_ids) for reply in replies]

    return Way(llm.llm_engine, reply, Spent())


def recorded(engine: SteeredVllm, options: argparse.Namespace) -> Way:
    """Every token of prompts and replies is recorded, and taken over from the worker."""
    from vllm import SamplingParams

    llm = engine._llm

    def reply(prompts: list[list[int]], seed: int) -> list[list[int]]:
        names = [f"{time.perf_counter_ns()}-{number}" for number in range(len(prompts))]
        sampling = [
            SamplingParams(
                temperature=0,
                max_tokens=options.new,
                ignore_eos=True,
                detokenize=False,
                skip_reading_prefix_cache=True,
                extra_args={KEY: {"id": name, "slot": 0, "start": 0, "stop": 0, "capture": True}},
            )
            for name in names
        ]
        replies = llm.generate([{"prompt_token_ids": prompt} for prompt in prompts], sampling, use_tqdm=False)
        [taken] = llm.collective_rpc("mascing_recorded", args=(names,))
        assert {len(z_TLE) for z_TLE, _ in taken} == {options.prompt + options.new - 1}
        return [list(reply.outputs[0].token_ids) for reply in replies]

    return Way(llm.llm_engine, reply, spent_in(engine))


def mask(engine: SteeredVllm, seed: int) -> Mask:
    """A mask that moves every expert of every layer."""
    drawn = torch.randn(engine.spec.n_layers, engine.spec.n_experts, generator=torch.Generator().manual_seed(seed))
    return Mask.from_bias(drawn, engine.spec)


class InTurns:
    """Threads of which one runs at a time: each hands over to the next one whenever its engine begins a step."""

    def __init__(self, names: list[str]) -> None:
        self._waiting, self._changed = names, threading.Condition()

    def begin(self, name: str) -> None:
        """Wait until it is this one's turn."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting[0] == name)

    def hand_over(self, name: str) -> None:
        """Let all others do a step first."""
        with self._changed:
            self._waiting.append(self._waiting.pop(0))
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._waiting[0] == name)

    def end(self) -> None:
        """Let the others go on alone."""
        with self._changed:
            self._waiting.pop(0)
            self._changed.notify_all()


def take(ways: dict[str, Way], options: argparse.Namespace, turn: int) -> dict[str, Measured]:
    """One turn of all ways, another one first each time."""
    draw = torch.Generator().manual_seed(1000 + turn)
    prompts = torch.randint(3, 250, (options.requests, options.prompt), generator=draw).tolist()
    names = list(ways)
    in_turns = InTurns(names[turn % len(names) :] + names[: turn % len(names)])

    def run(name: str) -> tuple[list[list[int]], Measured]:
        in_turns.begin(name)
        way, began = ways[name], time.thread_time()
        way.plugin.seconds = 0.0
        try:
            with handing_over(way.engine, partial(in_turns.hand_over, name)):
                replies = way.reply(prompts, turn)
            seconds = time.thread_time() - began
            return replies, Measured(options.requests * options.new / seconds, way.plugin.seconds / seconds)
        finally:
            in_turns.end()

    with ThreadPoolExecutor(len(names)) as threads:
        done = dict(zip(names, threads.map(run, names), strict=True))
    said = {name: replies for name, (replies, _) in done.items()}
    for name in ("off", "captured"):
        assert said[name] == said["stock"], f"{name} says something else than stock"
    assert said["one"] != said["stock"]
    measured = {name: of_way for name, (_, of_way) in done.items()}
    print(f"turn {turn}: tokens/s {', '.join(f'{name} {of.rate:.0f}' for name, of in measured.items())}", flush=True)
    return measured


@contextmanager
def handing_over(engine: Any, hand_over: Callable[[], None]) -> Iterator[None]:
    """Have the engine hand over before each of its steps."""
    step = engine.step

    def after_the_others() -> Any:
        hand_over()
        return step()

    engine.step = after_the_others
    try:
        yield
    finally:
        engine.step = step


def spent_in(engine: SteeredVllm) -> Spent:
    """What the plugin takes, on its worker and before it."""
    spent = Spent()
    [masking] = engine._llm.collective_rpc(lambda worker: worker.model_runner.mascing)
    spent.watch(masking.slots, "edit", "selected", "choice_change")
    spent.watch(masking.steps, "begin", "end", "finished", "proofs", "take")
    spent.watch(engine, "_asked", "_place", "_arguments", "_steered")
    return spent


if __name__ == "__main__":
    main()
