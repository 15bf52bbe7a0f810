"""The testbed stage: train the planted-circuit model once and keep its folder under the storage URL."""

import tempfile
from pathlib import Path

from mascing.storage.manifests import StageOutput
from mascing.storage.object_storage import Storage
from mascing.tasks.running.stage import Body, StageRun, run_stage, steps
from mascing.testbeds.planted import build

# Raised whenever the same seed makes another testbed, so that no run takes an old one for the new.
_RECIPE = 3


def testbed(storage: Storage, seed: int) -> StageRun:
    """The model folder, conversations and truth files of ``seed``, each file one shard."""
    return run_stage(
        storage,
        "testbed",
        f"olmoe-seed{seed}",
        identity={"seed": seed, "recipe": _RECIPE},
        inputs={},
        body=lambda output: _build(output, seed),
    )


def _build(output: StageOutput, seed: int) -> Body:
    with tempfile.TemporaryDirectory(prefix="mascing-testbed-") as folder:
        build(seed, folder, progress=steps("testbed"))
        shards = [
            output.put(path.name, path.read_bytes(), _rows(path))
            for path in sorted(Path(folder).iterdir())
            if path.is_file()
        ]
    return Body(shards, rows_in=sum(shard.rows for shard in shards))


def _rows(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.suffix == ".jsonl" else 0
