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
from transformers import GptOssConfig, GptOssForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM

from tests.bench.paired import alternate
from tests.bench.taps.random_moe import mixed_prompts, n_tokens
from tests.bench.taps.steering import described, generation, mask_times
from tests.bench.taps.ways_of_recording import plain_forward, recorded_forward, usual

QWEN3_30B_A3B: dict[str, Any] = {
    "vocab_size": 151_936,
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "moe_intermediate_size": 768,
    "num_hidden_layers": 48,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "head_dim": 128,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "norm_topk_prob": True,
    "max_position_embeddings": 40_960,
}
GPT_OSS_20B: dict[str, Any] = {
    "vocab_size": 201_088,
    "hidden_size": 2880,
    "intermediate_size": 2880,
    "num_hidden_layers": 24,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "num_local_experts": 32,
    "num_experts_per_tok": 4,
    "sliding_window": 128,
}
TINY = {"vocab_size": 32_000, "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "head_dim": 16}
MODELS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "qwen3-30b-a3b": (Qwen3MoeForCausalLM, Qwen3MoeConfig, QWEN3_30B_A3B),
    "gpt-oss-20b": (GptOssForCausalLM, GptOssConfig, GPT_OSS_20B),
}


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
    build, config, sizes = MODELS[name]
    torch.manual_seed(0)
    settings = config(**(sizes | TINY if tiny else sizes), pad_token_id=0, bos_token_id=1, eos_token_id=2)
    # Build the model on the device in its final dtype: a float32 copy on the host would be twice as large.
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with device:
            return build(settings).eval()
    finally:
        torch.set_default_dtype(before)


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
