"""Driver memory of the label and the harvest stage by the number of conversations, with stubs in place of the model.

`python -m tests.bench.scale.streaming` makes up conversations of about 1 KB with replies of 500 characters, lets a
process of its own do the work of a worker, and prints a JSON object for each stage: the memory of the driver at its
peak, which its imports alone take, and the bytes that a unit is pickled to. Each stage runs in a process of its own.
"""

import argparse
import json
import pickle
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

import torch

from mascing.conversations.reply import Reply
from mascing.schemas.config import RunConfig
from mascing.schemas.conversation import Conversation
from mascing.schemas.finished import Labelled, Prepared
from mascing.schemas.manifest import Manifest
from mascing.storage.manifests import MANIFEST, read_manifest
from mascing.storage.object_storage import Storage
from mascing.tasks import harvest as harvesting
from mascing.tasks.harvest import harvest
from mascing.tasks.labelling import label
from mascing.tasks.prepare import prepare
from mascing.tasks.replying import judged
from mascing.traces.trace_set import SampleTrace
from tests.mascing import olmoe_folder
from tests.tasks.here_pool import HerePool

M = TypeVar("M", bound=Manifest)

_WORDS = ["route", "expert", "token", "layer", "question", "answer", "steer", "mask", "of", "the", "and", "why"]
_STAGES = ("prepare", "label", "harvest")


class ApartPool(HerePool):
    """Does all work in one process apart, and counts the units and their pickled bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.units = self.bytes = 0
        self._common: Any = None
        context = get_context("fork")
        self._here, there = context.Pipe()
        context.Process(target=_work, args=(self.worker, there), daemon=True).start()

    def result(self, function: Callable[..., Any], shared: Any, item: Any) -> Any:
        if shared is not self._common:
            self._common = shared
            self._here.send((None, shared))
        if hasattr(item, "unit"):
            self.units += 1
            self.bytes += len(pickle.dumps(item))
        self._here.send((function, item))
        return self._here.recv()


def _work(worker: Any, pipe: Any) -> None:
    shared = None
    with patch.object(judged, "replies_to", replies_to), patch.object(harvesting, "recorded", recorded):
        while True:
            function, item = pipe.recv()
            if function is None:
                shared = item
            else:
                pipe.send(function(worker, shared, item))


def replies_to(
    worker: Any, storage: Any, config: Any, rows: Sequence[Conversation], mask: Any, others: Any
) -> list[Reply]:
    """Refusals and answers in turn."""
    return [Reply(("Sorry, no. " if len(row.id) % 2 else "Of course. ") + _text(row.id, 480)) for row in rows]


def recorded(worker: Any, loaded: Any, settings: Any, rows: Sequence[Conversation], **how: Any) -> list[SampleTrace]:
    """Four tokens each."""
    return [_trace(row) for row in rows]


def _trace(row: Conversation) -> SampleTrace:
    z_TLE = torch.randn(4, 3, 8, generator=torch.Generator().manual_seed(len(row.id))).half()
    selected_TLK = z_TLE.float().topk(2, dim=-1).indices.to(torch.uint8)
    regions_T = torch.tensor([0, 0, 1, 1], dtype=torch.uint8)
    return SampleTrace(row.id, row.group_id, int(row.label == "positive"), z_TLE, regions_T, selected_TLK)


def write_conversations(path: Path, rows: int) -> None:
    """Target conversations of about 1 KB, in groups of two."""
    with path.open("w") as file:
        for number in range(rows):
            name = "c" * (1 + number % 2) + str(number)
            message = {"role": "user", "content": _text(name, 1000)}
            file.write(json.dumps({"id": name, "group_id": f"g{number // 2}", "messages": [message]}) + "\n")


def _text(seed: str, characters: int) -> str:
    return " ".join(random.Random(seed).choices(_WORDS, k=characters // 5))[:characters]


def config_of(folder: Path) -> RunConfig:
    """A run on the conversations in ``folder``."""
    judge = {"kind": "refusal", "phrases": ["Sorry"]}
    return RunConfig.model_validate(
        {
            "model": {"path": str(folder / "model"), "dtype": "float32"},
            "behaviour": {
                "name": "streaming",
                "conversations": str(folder / "conversations.jsonl"),
                **{kind: judge for kind in ("target", "utility", "protected")},
            },
        }
    )


def measure(folder: Path, stage: str) -> dict[str, Any]:
    """Run a stage whose inputs are there, and tell what it took; memory in MB."""
    pool, storage, config = ApartPool(), Storage.open(str(folder / "data")), config_of(folder)
    before, started = _peak(), time.monotonic()
    if stage == "prepare":
        prepare(storage, config)
    elif stage == "label":
        label(storage, config, _finished(storage, Prepared), pool=pool)
    else:
        harvest(storage, config, _finished(storage, Labelled), pool=pool)
    return {
        "stage": stage,
        "rows": _finished(storage, Prepared).rows_in,
        "seconds": round(time.monotonic() - started, 1),
        "imports_mb": round(before),
        "driver_mb": round(_peak()),
        "bytes_a_unit": pool.bytes // max(1, pool.units),
    }


def _finished(storage: Storage, leaves: type[M]) -> M:
    """The manifest of a stage that is finished."""
    [manifest] = [name for name in storage.list(leaves.stage_name()) if name.endswith(f"/{MANIFEST}")]
    return read_manifest(storage, manifest.removesuffix(f"/{MANIFEST}"), leaves)


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Each number of rows in a storage of its own, and each stage in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[1000, 100_000])
    parser.add_argument("--one", nargs=2, metavar=("FOLDER", "STAGE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        folder, stage = options.one
        print(json.dumps(measure(Path(folder), stage)), flush=True)
        return
    for rows in options.rows:
        with tempfile.TemporaryDirectory() as here:
            olmoe_folder.save(Path(here, "model"), max_position_embeddings=2048)
            write_conversations(Path(here, "conversations.jsonl"), rows)
            for stage in _STAGES:
                command = [sys.executable, "-m", "tests.bench.scale.streaming", "--one", here, stage]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                print(done.stdout.splitlines()[-1], flush=True)


if __name__ == "__main__":
    main()
