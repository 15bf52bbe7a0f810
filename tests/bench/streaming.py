"""Speed of stored traces: reading them for training against pyarrow alone, and what the checks cost.

Run from the root: ``OMP_NUM_THREADS=1 python -m tests.bench.streaming``; ``--megabytes`` is the size of the logits.
The shards hold L=48 layers of E=128 experts in bfloat16's precision, as from a model of that type, on the local disk.
"""

import argparse
import hashlib
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from mascing.routers.spec import RouterSpec
from mascing.traces.shard_files import ShardFile
from mascing.traces.shards import encode
from mascing.traces.stored import StoredTraces
from mascing.traces.trace_set import SampleTrace, refuse_non_logits
from tests.bench.peak_memory import megabytes_above, start_anew

SPEC = RouterSpec("qwen3_moe", tuple(range(48)), 128, 8, "softmax-topk")
TOKENS = 100
"""Tokens of a sample."""
MEGABYTE = 1e6
_TOKEN_BYTES = SPEC.n_layers * SPEC.n_experts * 2


def main() -> None:
    """Print every figure, each the median of alternating turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=600)
    parser.add_argument("--turns", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        files = written(Path(folder), arguments.megabytes)
        megabytes = sum(sum(_opened(file).rows) for file in files) * _TOKEN_BYTES / MEGABYTE
        stored = sum(file.stat().st_size for file in files) / MEGABYTE
        print(f"{megabytes:.0f} MB of logits in {len(files)} shards of {stored:.0f} MB together", flush=True)
        _print_speeds(_ways(files), arguments.turns, megabytes)
        rows = samples(64, torch.Generator().manual_seed(0))
        megabytes = len(rows) * TOKENS * _TOKEN_BYTES / MEGABYTE
        _print_speeds(_write_ways(rows), arguments.turns, megabytes)
        before = start_anew()
        consume(local(files).parts(torch.Generator().manual_seed(0)))
        print(f"peak memory of a shuffled pass, the mapped files included: {megabytes_above(before)} MB")


def samples(n: int, draw: torch.Generator) -> list[SampleTrace]:
    """Samples of TOKENS tokens, each expert with a level of its own."""
    levels_LE = torch.randn(SPEC.n_layers, SPEC.n_experts, generator=torch.Generator().manual_seed(1))
    regions = torch.zeros(TOKENS, dtype=torch.uint8)
    made = []
    for number in range(n):
        noise_TLE = torch.randn(TOKENS, SPEC.n_layers, SPEC.n_experts, generator=draw)
        z_TLE = (noise_TLE + levels_LE).to(torch.bfloat16).half()
        selected = z_TLE.float().topk(SPEC.top_k).indices.to(torch.uint8)
        made.append(SampleTrace(f"sample-{number}", f"group-{number // 4}", number % 2, z_TLE, regions, selected))
    return made


def written(folder: Path, megabytes: float, each: int = 64) -> list[Path]:
    """Shards of ``each`` samples in the folder."""
    draw, files = torch.Generator().manual_seed(0), []
    for number in range(max(1, round(megabytes * MEGABYTE / (each * TOKENS * _TOKEN_BYTES)))):
        files.append(folder / f"{number:05d}.parquet")
        files[-1].write_bytes(encode(samples(each, draw), SPEC))
    return files


def local(files: list[Path]) -> StoredTraces:
    """The shards as a run reads them from a local disk, but for the SHA-256."""
    return StoredTraces(lambda name: Path(name), {str(file): file.stat().st_size for file in files})


def consume(parts: Iterator[object]) -> int:
    """Read all parts and hold none."""
    return sum(1 for _ in parts)


def _opened(file: Path) -> ShardFile:
    return ShardFile(file, file.name)


def _plain(files: list[Path], checksums: bool) -> Iterator[object]:
    """What pyarrow gives for the same files, row group by row group."""
    for file in files:
        parquet = pq.ParquetFile(pa.memory_map(str(file)), page_checksum_verification=checksums)
        for group in range(parquet.num_row_groups):
            yield parquet.read_row_group(group, use_threads=False)


def _ways(files: list[Path]) -> dict[str, Callable[[], object]]:
    return {
        "pyarrow, row groups as tables, page checksums verified": lambda: consume(_plain(files, True)),
        "the same without page checksums": lambda: consume(_plain(files, False)),
        "StoredTraces, torch tensors in stored order": lambda: consume(local(files).parts()),
        "StoredTraces, torch tensors, shuffled": lambda: consume(local(files).parts(torch.Generator().manual_seed(0))),
        "StoredTraces, 4 of 48 layers, in logits of all layers": lambda: consume(
            local(files).layers((0, 12, 24, 36)).parts()
        ),
        "SHA-256 of the files, once for each opening": lambda: [_sha256(file) for file in files],
    }


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _write_ways(rows: list[SampleTrace]) -> dict[str, Callable[[], object]]:
    """What encoding a shard costs in all, and the checks in it alone."""
    return {
        "encode: checks, statistics and Parquet": lambda: encode(rows, SPEC),
        "the checks of the logits alone": lambda: refuse_non_logits([row.z for row in rows]),
    }


def _print_speeds(ways: dict[str, Callable[[], object]], turns: int, megabytes: float) -> None:
    """Print the median speed of each way; the ways take turns, after one that is not measured.

    CPU time is that of all threads of this process; other processes disturb it less than the time by the clock.
    """
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(turns + 1):
        for name, way in ways.items():
            wall, cpu = time.perf_counter(), time.process_time()
            way()
            taken[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    for name, seconds in taken.items():
        wall, cpu = (statistics.median(column) for column in zip(*seconds[1:], strict=True))
        print(f"{name}: {megabytes / wall:.0f} MB of logits a second, {megabytes / cpu:.0f} a CPU second", flush=True)


if __name__ == "__main__":
    main()
