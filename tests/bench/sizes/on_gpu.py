"""Measure on a GPU what `table` counts and assumes: ``python -m tests.bench.sizes.on_gpu [--model qwen3-30b-a3b]``.

Random weights of true size; the model must fit the GPU. ``--tiny`` tries the script out, on a CPU too. The last two
columns are what belongs in ``COMPUTE_USED`` and ``BANDWIDTH_USED`` of the table.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch

from tests.bench.sizes import counting
from tests.bench.sizes.table import BATCH_ROWS, H100, PROMPT
from tests.bench.sizes.true_models import MODELS, TrueModel

_STEPS = 16


def main() -> None:
    """Print a line for each model: bytes beside the weights for a token as counted / as allocated, and the speeds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", choices=[model.name.lower() for model in MODELS], action="append")
    parser.add_argument("--rows", type=int, default=8, help="conversations in a forward")
    parser.add_argument("--length", type=int, default=PROMPT, help="their tokens")
    parser.add_argument("--batch", type=int, default=BATCH_ROWS, help="rows of a batch of replies")
    parser.add_argument("--tiny", action="store_true")
    arguments = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and not arguments.tiny:
        raise SystemExit("no GPU here: the figures need one; --tiny tries the script out on the CPU")
    print(f"{torch.cuda.get_device_name() if device == 'cuda' else 'CPU'}, torch {torch.__version__}\n")
    print(
        "| model | weights | keys and values | forward | backward | FLOP/s used | bandwidth used |\n" + "|---" * 7 + "|"
    )
    for model in MODELS:
        if arguments.model is None or model.name.lower() in arguments.model:
            print(_row(model, device, arguments), flush=True)


def _row(true: TrueModel, device: str, arguments: argparse.Namespace) -> str:
    changes = true.tiny() if arguments.tiny else {}
    counted, model = true.build("meta", **changes), true.build(device, **changes)
    tokens = arguments.rows * arguments.length
    ids = torch.randint(3, model.config.vocab_size, (arguments.rows, arguments.length), device=device)
    forward, forward_seconds = _measured(lambda: _forward(model, ids))
    backward, _ = _measured(lambda: _backward(model, ids))
    flops = 2 * counting.parameters(model)[1] * tokens / forward_seconds
    pairs = (
        (counting.weight_bytes(counted), counting.weight_bytes(model)),
        (counting.cache_per_token(counted), counting.cache_per_token(model)),
        (counting.forward_per_token(counted), forward / tokens),
        (counting.saved_per_token(counted), backward / tokens),
    )
    bandwidth = counting.weight_bytes(model) / _step_seconds(model, ids[:1].expand(arguments.batch, -1))
    cells = [f"{told / 1e3:,.1f} / {found / 1e3:,.1f} kB" for told, found in pairs]
    cells += [f"{flops / H100.flops:.3f}", f"{bandwidth / H100.bandwidth:.3f}"]
    return f"| {true.name} | {' | '.join(cells)} |"


def _measured(run: Callable[[], Any]) -> tuple[float, float]:
    """Peak bytes beside what was there (0 without a GPU), and seconds, of a second run."""
    run()
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated() if cuda else 0
    start = time.perf_counter()
    run()
    if cuda:
        torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    return (torch.cuda.max_memory_allocated() - before if cuda else 0), seconds


def _forward(model: Any, ids: torch.Tensor) -> None:
    with torch.no_grad():
        model.get_decoder()(input_ids=ids, use_cache=False)


def _backward(model: Any, ids: torch.Tensor) -> None:
    embeddings = model.get_input_embeddings()(ids).requires_grad_()
    model.get_decoder()(inputs_embeds=embeddings, use_cache=False).last_hidden_state.float().sum().backward()


def _step_seconds(model: Any, ids: torch.Tensor) -> float:
    """Seconds of a step of generation after these prompts."""
    options: dict[str, Any] = {"do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    _, one = _measured(lambda: model.generate(input_ids=ids, max_new_tokens=1, **options))
    _, many = _measured(lambda: model.generate(input_ids=ids, max_new_tokens=1 + _STEPS, **options))
    return max(many - one, 1e-9) / _STEPS


if __name__ == "__main__":
    main()
