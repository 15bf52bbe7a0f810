"""A driver that is killed in two stages of a whole run costs no more than the units in flight; all stages by hand."""

from pathlib import Path

import pytest

from tests.torture.costs.__main__ import IN_FLIGHT, kills


@pytest.mark.timeout(1200)
def test_a_killed_driver_costs_a_run_the_units_in_flight_at_most(testbed_folder: Path, tmp_path: Path) -> None:
    found = kills(testbed_folder, tmp_path, seed=0, victim="driver", stages=("harvest", "evaluate"))
    assert [kill.stage for kill in found] == ["harvest", "evaluate"]
    assert all(kill.after for kill in found), found
    assert all(kill.twice <= IN_FLIGHT for kill in found), found
    begun = (tmp_path / "journal").read_text().split()
    assert len(begun) - len(set(begun)) <= IN_FLIGHT * len(found)
