"""A run whose driver is killed in three stages repeats what was in flight, and ends like an undisturbed one.

The killed run is `mascing run` with a Ray worker, the undisturbed one is in this process. `python -m
tests.torture.costs` kills in all stages, with two workers, and workers too.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from mascing.config import load_config
from mascing.flows.reconfigure import reconfigure
from mascing.storage.sealing import SEAL
from tests.tasks.here_pool import HerePool
from tests.torture.costs.__main__ import IN_FLIGHT, kills

KILLED_IN = ("harvest", "select", "evaluate")
BEFORE = ("prepare", "label", "harvest", "train", "optimise", "select")


@pytest.mark.timeout(1800)
@pytest.mark.usefixtures("prefect_here")
def test_a_killed_driver_costs_a_run_the_units_in_flight_at_most_and_its_result_nothing(
    testbed_folder: Path, tmp_path: Path, prefect_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One server for all starts; what a kill does to a run's own server has a test of its own.
    found = kills(
        testbed_folder, tmp_path, seed=0, victim="driver", stages=KILLED_IN, workers=1, prefect_url=prefect_url
    )
    assert [kill.stage for kill in found] == list(KILLED_IN)
    assert all(kill.after for kill in found), found
    assert all(kill.twice <= IN_FLIGHT for kill in found), found
    begun = (tmp_path / "journal").read_text().split()
    assert len(begun) - len(set(begun)) <= IN_FLIGHT * len(found)
    last = (tmp_path / f"start-{len(KILLED_IN) + 1}.txt").read_text().splitlines()
    assert [line for line in last if "already done" in line] == [f"{stage}: already done" for stage in BEFORE]

    monkeypatch.setattr("mascing.flows.reconfigure.Pool", lambda *_: HerePool())
    reconfigure(load_config(str(tmp_path / "run.yaml")), str(tmp_path / "undisturbed"))
    result = result_in(tmp_path / "storage")
    assert result == result_in(tmp_path / "undisturbed")
    assert result["published"] is not None


def result_in(storage: Path) -> dict[str, Any]:
    """The result of the only run, without timings and seal."""
    [stored] = storage.glob("runs/*/result.json")
    result: dict[str, Any] = json.loads(stored.read_text())
    assert result.pop("timings")
    assert result.pop(SEAL)
    return result
