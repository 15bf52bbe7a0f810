"""How much of the plain decoder forward's speed a collection reaches, end to end, with one worker and with two.

`python -m tests.bench.scale.collection` reads conversations, tokenises them, records a random MoE of about 50M
parameters and writes Parquet to a local SeaweedFS. The reference is the decoder alone, on the same batches in the same
worker.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import ray
import torch

from mascing.conversations.chat import render
from mascing.conversations.parquet_tables import from_table
from mascing.models.batching import length_sorted_batches, right_padded
from mascing.schemas.collection import CollectionConfig
from mascing.schemas.config import ComputeConfig
from mascing.schemas.finished import TakenIn
from mascing.storage.manifests import read_shard
from mascing.storage.object_storage import Storage
from mascing.storage.parquet import table_of
from mascing.tasks.collecting.collect import collect
from mascing.tasks.collecting.take_in import PART, intake
from mascing.tasks.workers.pool import Pool
from mascing.tasks.workers.worker import Worker
from tests.bench.taps.random_moe import random_moe
from tests.fixtures_s3 import served
from tests.mascing import olmoe_folder

_WORDS = ["route", "expert", "token", "layer", "question", "answer", "steer", "mask", "of", "the", "and", "why"]


def write_prompts(path: Path, rows: int) -> None:
    """Prompts of mixed length, about 100 tokens of one byte each in the median."""
    draw = random.Random(0)
    with path.open("w") as file:
        for number in range(rows):
            words = draw.choices(_WORDS, k=max(3, min(120, int(18 * draw.lognormvariate(0, 0.8)))))
            file.write(json.dumps({"id": f"p{number}", "user": " ".join(words)}) + "\n")


def plain(worker: Worker, shared: tuple[CollectionConfig, Storage, TakenIn], name: str) -> float:
    """Seconds of the decoder alone on the batches of one part."""
    config, storage, taken = shared
    loaded = worker.model(config.model)
    rows = from_table(table_of(read_shard(storage, taken, name)))
    prompts = [render(loaded.tokenizer, row).token_ids for row in rows]
    batches = length_sorted_batches([len(ids) for ids in prompts], config.harvest.batch_tokens)
    padded = [right_padded([prompts[index] for index in batch]) for batch in batches]
    decoder = loaded.model.get_decoder()
    started = time.perf_counter()
    with torch.no_grad():
        for ids_BT in padded:
            decoder(input_ids=ids_BT, use_cache=False)
    return time.perf_counter() - started


def measure(storage: Storage, config: CollectionConfig, workers: int) -> dict[str, Any]:
    """Seconds of the decoder alone, summed over the workers, and of the collection by the clock."""
    taken = intake(storage, config).manifest
    names = [shard.name for shard in taken.shards if shard.name.startswith(PART)]
    with Pool(ComputeConfig(workers=workers, min_workers=workers), config.model) as pool:
        plain_seconds = sum(pool.map(plain, (config, storage, taken), names, lambda done, total: None))
        started = time.perf_counter()
        collected = collect(storage, config, taken, pool=pool).manifest
        seconds = time.perf_counter() - started
    return {
        "workers": workers,
        "tokens": collected.facts.tokens,
        "plain_seconds": round(plain_seconds, 2),
        "collection_seconds": round(seconds, 2),
        "of_the_plain_forward": round(plain_seconds / workers / seconds, 3),
    }


def main() -> None:
    """Each number of workers in turn, several times, in storages of their own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1500)
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    with tempfile.TemporaryDirectory() as here, served(Path(here, "s3")) as url:
        folder = Path(here)
        model = olmoe_folder.save(folder / "model")
        random_moe().save_pretrained(model)
        write_prompts(folder / "prompts.jsonl", options.rows)
        config = CollectionConfig.model_validate(
            {
                "model": {"path": str(model), "dtype": "float32"},
                "conversations": str(folder / "prompts.jsonl"),
                "columns": {"user": "user"},
                "harvest": {"rows_per_shard": 64},
            }
        )
        for turn in range(options.turns):
            for workers in (1, 2):
                storage = Storage.open(f"{url}/turn-{turn}-{workers}")
                print(json.dumps({"turn": turn, **measure(storage, config, workers)}), flush=True)


if __name__ == "__main__":
    main()
