"""Speed of steered against unsteered generation, and the time to install and swap a mask of 94 layers x 512 experts.

Run from the root: ``OMP_NUM_THREADS=1 python -m tests.bench.taps.steering``.
"""

import argparse
import statistics
import time
from typing import Any

import torch
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

from mascing.masks.mask import Mask
from mascing.routers.spec import inspect_routers
from mascing.steering.steer import steer
from tests.bench.paired import Paired, alternate
from tests.bench.taps.random_moe import VOCABULARY, random_moe


def main() -> None:
    """Print the generation ratio and the two times."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = random_moe()
    ratio = generation(model, batch=8, prompt=64, new=32, turns=arguments.turns)
    print(f"steered / unsteered generate, 8 rows of 64 + 32 tokens, tokens per second: {ratio}", flush=True)
    print(f"mask of 94 layers x 512 experts: {described(*mask_times(deep_router_stack()))}")


def generation(model: Any, batch: int, prompt: int, new: int, turns: int) -> Paired:
    """Greedy generation with a KV cache, unsteered and under a mask that touches every layer and expert."""
    draw = torch.Generator().manual_seed(0)
    ids_BT = torch.randint(3, VOCABULARY, (batch, prompt), generator=draw).to(model.device)
    mask = any_mask(model)

    def unsteered() -> None:
        model.generate(ids_BT, max_new_tokens=new, min_new_tokens=new, do_sample=False)

    def steered() -> None:
        with steer(model, mask):
            unsteered()

    return alternate(unsteered, steered, turns)


def mask_times(model: Any, turns: int = 9) -> tuple[list[float], list[float]]:
    """Milliseconds to install a mask on a model and to swap it for another, for every turn."""
    first, second = any_mask(model, seed=1), any_mask(model, seed=2)
    installs, swaps = [], []
    for _ in range(turns):
        start = time.perf_counter()
        handle = steer(model, first)
        installs.append(1000 * (time.perf_counter() - start))
        start = time.perf_counter()
        handle.swap(second)
        swaps.append(1000 * (time.perf_counter() - start))
        handle.remove()
    return installs, swaps


def described(installs: list[float], swaps: list[float]) -> str:
    """Medians, and the fastest swap, which shows the time on an idle machine."""
    return (
        f"install with its proof {statistics.median(installs):.0f} ms, "
        f"swap {statistics.median(swaps):.2f} ms (medians; quickest swap {min(swaps):.2f} ms)"
    )


def any_mask(model: Any, seed: int = 0) -> Mask:
    """A dense additive mask."""
    spec = inspect_routers(model)
    bias_LE = torch.randn(spec.n_layers, spec.n_experts, generator=torch.Generator().manual_seed(seed))
    return Mask.from_bias(bias_LE, spec)


def deep_router_stack() -> Any:
    """94 MoE layers of 512 experts, as wide as memory allows: 16."""
    build: Any = Qwen3MoeForCausalLM
    config: Any = Qwen3MoeConfig(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=16,
        moe_intermediate_size=8,
        num_hidden_layers=94,
        num_attention_heads=1,
        num_key_value_heads=1,
        head_dim=16,
        num_experts=512,
        num_experts_per_tok=8,
        pad_token_id=0,
    )
    return build(config).eval()


if __name__ == "__main__":
    main()
