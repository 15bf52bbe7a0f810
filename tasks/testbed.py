"""The testbed stage trains the planted-circuit model once and stores its folder under the storage URL."""

import tempfile
from dataclasses import asdict
from pathlib import Path

from mascing.schemas.facts import TestbedFacts
from mascing.schemas.finished import TestbedBuilt
from mascing.storage.manifests import StageOutput
from mascing.storage.object_storage import Storage
from mascing.tasks.running.stage import Body, Finished, Recipe, run_stage, steps
from mascing.testbeds.planted.levels import LEVELS


def testbed(storage: Storage, level: int, seed: int) -> Finished[TestbedBuilt]:
    """Write the model folder, conversations and truth files of a level and seed, one shard per file."""
    return run_stage(storage, recipe(level, seed), lambda output: _build(output, level, seed))


def recipe(level: int, seed: int) -> Recipe[TestbedBuilt]:
    """The recipe that identifies a testbed."""
    return Recipe(TestbedBuilt, f"{LEVELS[level].family}-seed{seed}", {"level": asdict(LEVELS[level]), "seed": seed})


def _build(output: StageOutput[TestbedBuilt], level: int, seed: int) -> Body:
    from mascing.testbeds.planted import build  # seconds of imports, which a testbed that is there does not need

    with tempfile.TemporaryDirectory(prefix="mascing-testbed-") as folder:
        build(seed, folder, progress=steps("testbed"), level=level)
        shards = [
            output.put(path.name, path.read_bytes(), _rows(path))
            for path in sorted(Path(folder).iterdir())
            if path.is_file()
        ]
    return Body(shards, TestbedFacts(), rows_in=sum(shard.rows for shard in shards))


def _rows(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.suffix == ".jsonl" else 0
