"""A hard level is hard for the reasons that it names: measured on the trained model of level 2."""

from pathlib import Path
from statistics import fmean

import pytest
from torch import Tensor

from mascing.testbeds.planted import build
from tests.bench.methods.hardness import Bed, dense, part_of

pytestmark = pytest.mark.timeout(900)

TARGET, BENIGN, PROHIBITED = "target", "utility/benign", "protected/prohibited"


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Bed:
    folder: Path = tmp_path_factory.mktemp("level-2") / "testbed"
    build(0, folder, level=2)
    return Bed(2, 0, folder)


@pytest.fixture(scope="module")
def natural(bed: Bed) -> dict[str, float]:
    return bed.rates(None)


def test_by_itself_the_model_shows_the_behaviour_in_half_of_the_cases(natural: dict[str, float]) -> None:
    assert 0.4 <= natural[TARGET] <= 0.6
    assert natural[BENIGN] >= 0.98
    assert natural[PROHIBITED] >= 0.98


def test_the_whole_circuit_decides_and_strength_has_a_price(bed: Bed) -> None:
    truth_LE: Tensor = bed.circuit.truth_LE
    right, strong = bed.rates(truth_LE), bed.rates(3 * truth_LE)
    assert right[TARGET] >= 0.95
    assert right[BENIGN] >= 0.95
    assert strong[BENIGN] <= 0.5
    assert bed.rates(-3 * truth_LE)[PROHIBITED] <= 0.5


def test_half_of_the_circuit_does_nothing(bed: Bed, natural: dict[str, float]) -> None:
    halves = [bed.rates(part_of(bed.circuit.truth_LE, 0.5, draw))[TARGET] for draw in range(2)]
    assert max(halves) <= natural[TARGET] + 0.1


def test_lures_follow_the_label_and_cause_nothing(bed: Bed, natural: dict[str, float]) -> None:
    assert bed.risk_difference_precision() <= 0.6
    for sign in (1, -1):
        assert abs(bed.rates(sign * bed.circuit.lures_LE)[TARGET] - natural[TARGET]) <= 0.05


def test_a_dense_random_mask_costs_utility(bed: Bed, natural: dict[str, float]) -> None:
    drawn = [bed.rates(dense(bed.circuit.truth_LE, draw))[BENIGN] for draw in range(4)]
    assert fmean(drawn) <= natural[BENIGN] - 0.05
