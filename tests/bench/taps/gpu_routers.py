"""The same ratios on a GPU, on models of true size with random weights (bf16): Qwen3-30B-A3B and gpt-oss-20b.

Needs torch, transformers and the library's core alone, and about 65 GB of GPU memory (42 GB for gpt-oss-20b alone).
Run from the root: ``python -m tests.bench.taps.gpu_routers [--model gpt-oss-20b]``. ``--tiny`` shrinks the
models to try the script out without a GPU.
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from tests.bench.paired import alternate
from tests.bench.sizes.true_models import GPT_OSS_20B, QWEN3_30B_A3B
from tests.bench.taps.random_moe import mixed_prompts, n_tokens
from tests.bench.taps.steering import described, generation, mask_times
from tests.bench.taps.ways_of_recording import plain_forward, recorded_forward, usual

MODELS = {model.name.lower(): model for model in (QWEN3_30B_A3B, GPT_OSS_20B)}


def main() -> None:
    """Print the ratios of each model."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", choices=list(MODELS), action="append")
    parser.add_argument("--prompts", type=int, default=512)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--tiny", action="store_true")
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu" and not arguments.tiny:
        raise SystemExit("no GPU here: the figures need one; --tiny tries the script out on the CPU")
    print(f"{torch.cuda.get_device_name() if device.type == 'cuda' else 'CPU'}, torch {torch.__version__}")
    for name in arguments.model or MODELS:
        _figures(name, _model(name, device, arguments.tiny), arguments.prompts, arguments.turns)


def _model(name: str, device: torch.device, tiny: bool) -> Any:
    model = MODELS[name]
    torch.manual_seed(0)
    return model.build(str(device), **(model.tiny() if tiny else {}))


def _figures(name: str, model: Any, n: int, turns: int) -> None:
    prompts = mixed_prompts(n)
    billions = sum(parameter.numel() for parameter in model.parameters()) / 1e9
    print(f"{name}: {billions:.1f}B parameters, {n} prompts, {n_tokens(prompts)} tokens")
    pair = alternate(lambda: plain_forward(model, prompts), lambda: recorded_forward(model, prompts), turns)
    print(f"  recording / plain decoder forward of the same batches: {pair}")
    print(f"  recording: {n_tokens(prompts) / min(turn.candidate_wall for turn in pair.turns):.0f} tokens/s")
    with TemporaryDirectory() as folder:
        pair = alternate(
            lambda: usual(model, prompts, Path(folder, "all.pickle")),
            lambda: recorded_forward(model, prompts),
            turns,
        )
    print(f"  recording / usual way, tokens per second: {pair}")
    pair = generation(model, batch=16, prompt=128, new=64, turns=turns)
    print(f"  steered / unsteered generate, 16 rows of 128 + 64 tokens: {pair}")
    print(f"  mask: {described(*mask_times(model))}")


if __name__ == "__main__":
    main()
