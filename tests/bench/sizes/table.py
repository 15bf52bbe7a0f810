"""Memory and time by stage of models of true size on 80 GB GPUs: ``python -m tests.bench.sizes.table`` prints it.

Bytes are counted on models of true size without memory (`counting`), and shares of compression were measured on the
traces of a testbed. Nothing was run on a GPU: what is assumed stands in ``ASSUMED``.
"""

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from mascing.preflight.hardware import LARGEST_SHARE
from mascing.schemas.config import GenerationConfig, HarvestConfig
from mascing.schemas.tables import SELECTED
from tests.bench.sizes import counting
from tests.bench.sizes.true_models import MODELS, TrueModel

LOGITS_STORED, IDS_STORED = 0.90, 0.34
"""Bytes on disk of logits and selected ids over their bytes in memory; ``--traces FOLDER`` measures them."""

PROMPT, REPLY = 512, 128
"""Tokens of a conversation and of a reply that the tables tell of."""
BATCH_TOKENS = HarvestConfig().batch_tokens
BATCH_ROWS = GenerationConfig().batch_size
GRADIENT_FACTOR = 2
"""The most that `gradient` may keep, over what a plain backward pass keeps."""


@dataclass(frozen=True)
class Gpu:
    """A GPU by its data sheet: memory in bytes, FLOP/s in bfloat16 without sparsity, and bytes/s of its memory."""

    memory: float
    flops: float
    bandwidth: float


H100 = Gpu(80e9, 989e12, 3.35e12)

COMPUTE_USED, BANDWIDTH_USED = 0.3, 0.5
ASSUMED = f"""\
- An H100 SXM: 80 GB, 989 TFLOP/s in bfloat16, 3.35 TB/s (NVIDIA's data sheet). Prefill and backward reach
  {COMPUTE_USED:.0%} of its FLOP/s, and a step of generation {BANDWIDTH_USED:.0%} of its bandwidth.
- A token costs 2 FLOP for each parameter that it goes through; attention itself is left out, as it is a few percent at
  {PROMPT} tokens. A backward pass to the mask, with frozen weights, costs as much as the forward; recomputation costs
  one forward more.
- A step of generation reads all weights once: {BATCH_ROWS} rows together select almost every expert.
- The layers of a model on several GPUs work one after the other, so it is no faster than on one.
- Attention by sdpa keeps nothing that grows with the square of the length. That of gpt-oss is eager in transformers,
  and what it keeps is counted.
- {LARGEST_SHARE:.0%} of a GPU are for weights and what stands in the tables; the rest is for its context, fragments and
  the LM head."""


@dataclass(frozen=True)
class Sizes:
    """What one model takes; bytes, and of a token where the name says so."""

    name: str
    parameters: int
    active: int
    weights: int
    cache_per_token: float
    forward_per_token: float
    saved_per_token: float
    inputs_per_token: float
    layer_per_token: float
    trace_per_token: float

    @classmethod
    def of(cls, model: TrueModel) -> "Sizes":
        """Count them."""
        built = model.build("meta")
        top_k, n_experts = counting.experts(built)
        parameters, active = counting.parameters(built)
        inputs, layer = counting.recomputed_per_token(built)
        stored = built.config.num_hidden_layers * (2 * n_experts * LOGITS_STORED + top_k * IDS_STORED)
        return cls(
            model.name, parameters, active, counting.weight_bytes(built), counting.cache_per_token(built),
            counting.forward_per_token(built), counting.saved_per_token(built), inputs, layer, stored,
        )  # fmt: skip

    @property
    def recomputed_per_token(self) -> float:
        """What a backward pass keeps if each layer is recomputed."""
        return self.inputs_per_token + self.layer_per_token


COUNTED = (
    "| model | parameters, of a token | weights | cache | forward | backward | recomputed | traces |\n"
    + "|---" * 8
    + "|"
)
MEMORY = "| model | weights alone | replies | harvest | `gradient` | recomputed |\n" + "|---" * 6 + "|"
TIME = "| model | replies | harvest | `gradient` | recomputed |\n" + "|---" * 5 + "|"


def counted_row(sizes: Sizes) -> str:
    """Bytes a token, beside the weights."""
    return (
        f"| {sizes.name} | {sizes.parameters / 1e9:.1f}B, {sizes.active / 1e9:.1f}B | {sizes.weights / 1e9:.1f} GB "
        f"| {sizes.cache_per_token / 1e3:.0f} kB | {sizes.forward_per_token / 1e3:.0f} kB "
        f"| {sizes.saved_per_token / 1e6:.1f} MB | {sizes.recomputed_per_token / 1e6:.2f} MB "
        f"| {sizes.trace_per_token / 1e3:.1f} kB |"
    )


def memory_row(sizes: Sizes) -> str:
    """GPUs, and GB beside the weights of each stage that needs the model."""
    replies = BATCH_ROWS * ((PROMPT + REPLY) * sizes.cache_per_token) + BATCH_ROWS * PROMPT * sizes.forward_per_token
    backward = GRADIENT_FACTOR * BATCH_TOKENS * sizes.saved_per_token
    recomputed = BATCH_TOKENS * (sizes.inputs_per_token + GRADIENT_FACTOR * sizes.layer_per_token)
    stages = (replies, BATCH_TOKENS * sizes.forward_per_token, backward, recomputed)
    cells = [f"{_gpus(sizes.weights + beside)} ({beside / 1e9:.1f} GB)" for beside in stages]
    return f"| {sizes.name} | {_gpus(sizes.weights)} | {' | '.join(cells)} |"


def time_row(sizes: Sizes) -> str:
    """Minutes for 1,000 conversations."""
    token = 2 * sizes.active / (COMPUTE_USED * H100.flops)
    step = sizes.weights / (BANDWIDTH_USED * H100.bandwidth)
    harvest = 1000 * (PROMPT + REPLY) * token
    replies = 1000 * PROMPT * token + 1000 / BATCH_ROWS * REPLY * step
    minutes = [f"{seconds / 60:.1f} min" for seconds in (replies, harvest, 2 * harvest, 3 * harvest)]
    return f"| {sizes.name} | {' | '.join(minutes)} |"


def _gpus(needed: float) -> int:
    return math.ceil(needed / (LARGEST_SHARE * H100.memory))


def stored_shares(folder: Path) -> tuple[float, float]:
    """Bytes on disk over bytes in memory of the logits and of the selected ids in a run's shards of traces."""
    stored, plain = {True: 0, False: 0}, {True: 0, False: 0}
    for file in sorted(folder.glob("*.parquet")):
        content = pq.ParquetFile(file)
        for field in content.schema_arrow:
            if field.name == SELECTED or field.name.startswith("z_"):
                plain[field.name == SELECTED] += field.type.byte_width * content.metadata.num_rows
        for group in range(content.metadata.num_row_groups):
            for column in map(content.metadata.row_group(group).column, range(content.metadata.num_columns)):
                if column.path_in_schema == SELECTED or column.path_in_schema.startswith("z_"):
                    stored[column.path_in_schema == SELECTED] += column.total_compressed_size
    return stored[False] / plain[False], stored[True] / plain[True]


def main() -> None:
    """Print the tables, or the shares of some traces."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--traces", type=Path, help="the folder traces/ of a storage folder")
    arguments = parser.parse_args()
    if arguments.traces is not None:
        print("logits {:.2f}, selected ids {:.2f}".format(*stored_shares(arguments.traces)))
        return
    sizes = [Sizes.of(model) for model in MODELS]
    for header, row in ((COUNTED, counted_row), (MEMORY, memory_row), (TIME, time_row)):
        print("\n".join([header, *map(row, sizes)]), end="\n\n")
    print(ASSUMED)


if __name__ == "__main__":
    main()
