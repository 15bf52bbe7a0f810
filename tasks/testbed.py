"""The testbed stage trains the planted-circuit model once and stores its folder under the storage URL."""

import tempfile
from pathlib import Path

from mascing.schemas.facts import TestbedFacts
from mascing.schemas.finished import TestbedBuilt
from mascing.storage.manifests import StageOutput
from mascing.storage.object_storage import Storage
from mascing.tasks.running.stage import Body, Finished, Recipe, run_stage, steps
from mascing.testbeds.planted import build


def testbed(storage: Storage, seed: int) -> Finished[TestbedBuilt]:
    """Write the model folder, conversations and truth files of ``seed``, one shard per file."""
    return run_stage(storage, recipe(seed), lambda output: _build(output, seed))


def recipe(seed: int) -> Recipe[TestbedBuilt]:
    """The recipe that identifies a testbed."""
    return Recipe(TestbedBuilt, f"olmoe-seed{seed}", {"seed": seed})


def _build(output: StageOutput[TestbedBuilt], seed: int) -> Body:
    with tempfile.TemporaryDirectory(prefix="mascing-testbed-") as folder:
        build(seed, folder, progress=steps("testbed"))
        shards = [
            output.put(path.name, path.read_bytes(), _rows(path))
            for path in sorted(Path(folder).iterdir())
            if path.is_file()
        ]
    return Body(shards, TestbedFacts(), rows_in=sum(shard.rows for shard in shards))


def _rows(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.suffix == ".jsonl" else 0
