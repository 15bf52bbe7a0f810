"""A campaign runs its grid, goes on beside what fails, and finds again what it has done."""

import json
from pathlib import Path
from typing import Any

import pytest

from mascing.campaigns.folder import folder_of, read_failure
from mascing.config import load_campaign
from mascing.flows.campaign import campaign
from mascing.storage import parquet
from mascing.storage.object_storage import Storage
from tests.coin_run import COIN, written
from tests.mascing import olmoe_folder
from tests.tasks.here_pool import HerePool


class CountingPool(HerePool):
    """Counts the models that were loaded, and the replies that were made."""

    models: int = 0


@pytest.fixture
def parts(tmp_path: Path) -> dict[str, Any]:
    """A campaign of a model, two behaviours, a method and two seeds, whose judge is a coin."""
    run = json.loads(Path(written(tmp_path, olmoe_folder.save(tmp_path / "model"), COIN)).read_text())
    behaviour = run["behaviour"]
    return {
        "name": "coins",
        "models": {"tiny": {"model": run["model"]}},
        "behaviours": {"b": {"behaviour": {**behaviour, "name": "b"}}, "c": {"behaviour": {**behaviour, "name": "c"}}},
        "methods": {"steermoe": {"n_activated": [1]}},
        "seeds": [0, 1],
        "shared": {"generation": {"max_new_tokens": 3}, "splits": run["splits"], "allow_unpublishable": True},
    }


def ran(folder: Path, parts: dict[str, Any], storage: Storage) -> list[dict[str, Any]]:
    path = folder / "campaign.yaml"
    path.write_text(json.dumps(parts))
    name = campaign(str(path), storage.url)
    assert name == folder_of(load_campaign(str(path))).name
    return list(parquet.from_bytes(storage.read(f"campaigns/{name}/leaderboard.parquet")).to_pylist())


@pytest.fixture
def pools(prefect_here: None, monkeypatch: pytest.MonkeyPatch) -> list[HerePool]:
    made: list[HerePool] = []

    def pool(*_: Any) -> HerePool:
        made.append(HerePool())
        return made[-1]

    monkeypatch.setattr("mascing.flows.campaign.Pool", pool)
    return made


def test_all_cells_of_the_grid_are_there_and_found_again(
    tmp_path: Path, parts: dict[str, Any], pools: list[HerePool]
) -> None:
    storage = Storage.open(str(tmp_path / "s"))
    rows = ran(tmp_path, parts, storage)
    assert [(row["behaviour"], row["seed"], row["method"], row["state"]) for row in rows] == [
        (behaviour, seed, method, "finished")
        for behaviour in ("b", "c")
        for seed in (0, 1)
        for method in ("steermoe", "random")
    ]
    assert len(pools) == 1
