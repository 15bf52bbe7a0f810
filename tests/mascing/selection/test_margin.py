"""The teacher-forced margin: likelihoods under a mask, the rates that they predict, and the promising cells."""

from math import exp, inf, nan
from pathlib import Path

import pytest
from safetensors.torch import load_file

from mascing.errors import DataError
from mascing.masks.mask import Mask
from mascing.models.loading import load
from mascing.routers.spec import inspect_routers
from mascing.schemas.config import ModelConfig
from mascing.selection.margin import (
    Forced,
    contenders,
    forced,
    forced_batches,
    forced_rates,
    places_for,
    worst_loss,
)
from mascing.testbeds.planted import behaviour_config
from tests.mascing.conversations.lines import decode_lines, parse_conversations


def test_rates_are_the_chance_of_the_wanted_reply_and_what_is_left_of_the_likelihood() -> None:
    baseline = Forced([0.0, 0.0], {"utility/benign": [-1.0, -2.0], "protected/illegal": [-1.0]})
    steered = Forced([0.0, 20.0], {"utility/benign": [-0.5, -3.0], "protected/illegal": [-1.0]})
    rates = forced_rates(baseline, steered)
    assert rates["target"] == pytest.approx(0.75)
    assert rates["utility/benign"] == pytest.approx((1 + exp(-1)) / 2)
    assert rates["protected/illegal"] == 1
    assert worst_loss(rates) == pytest.approx((1 - exp(-1)) / 2)


@pytest.mark.parametrize("broken", [nan, -inf, inf])
def test_a_likelihood_that_is_no_number_is_the_worst_under_a_mask_and_refused_without_one(broken: float) -> None:
    sound = Forced([0.0, 0.0], {"utility/benign": [-1.0, -2.0]})
    assert forced_rates(sound, Forced([broken, 0.0], {"utility/benign": [broken, -2.0]})) == {
        "target": 0.25,
        "utility/benign": 0.5,
    }
    for unsteered in (Forced([broken], {}), Forced([], {"utility/benign": [broken]})):
        with pytest.raises(DataError, match="the unsteered model gives a reply of set"):
            forced_rates(unsteered, unsteered)


def test_the_strongest_and_the_careful_cells_are_promising() -> None:
    grid = [(0.5, 0.0), (0.6, 0.01), (0.8, 0.02), (0.9, 0.3), (0.95, 0.9), (0.55, 0.5), *[(0.5, 0.0)] * 6]
    rates = [{"target": target, "utility/benign": 1 - loss} for target, loss in grid]
    assert contenders(rates, 3) == [2, 3, 4]
    assert contenders(rates, 2) == [3, 4]
    assert contenders(rates[:1], 2) == [0]


def test_a_quarter_of_a_grid_enters_but_no_fewer_than_two_and_no_more_than_are_kept() -> None:
    assert [places_for(cells, 5) for cells in (3, 8, 9, 12, 20, 240)] == [2, 2, 3, 3, 5, 5]


def test_the_best_cell_of_every_search_seed_is_promising() -> None:
    """Seed 1 finds nothing, but its careful cell is judged beside the best cells of seed 0."""
    grid = [(0.9, 0.0), (0.95, 0.01), (0.5, 0.0), (0.55, 0.5)]
    rates = [{"target": target, "utility/benign": 1 - loss} for target, loss in grid]
    assert contenders(rates, 2) == [0, 1]
    assert contenders(rates, 2, seeds=[0, 0, 1, 1]) == [0, 1, 2]


def test_likelihoods_of_two_parts_are_those_of_both() -> None:
    both = Forced([1.0], {"utility/benign": [2.0]}) + Forced([3.0], {"protected/illegal": [4.0]})
    assert both == Forced([1.0, 3.0], {"utility/benign": [2.0], "protected/illegal": [4.0]})


def test_without_margins_every_cell_is_promising() -> None:
    assert contenders([{"utility/benign": 0.9}, {"utility/benign": 0.1}], 1) == [0, 1]


def test_the_planted_circuit_is_foretold_without_a_generated_reply(testbed_folder: Path) -> None:
    behaviour = behaviour_config("jailbreak-defence", str(testbed_folder))
    conversations, _ = parse_conversations(decode_lines(Path(str(behaviour.conversations)).read_bytes()), 10_000)
    sample = [
        conversation
        for name in ("target", "utility/benign")
        for conversation in conversations
        if conversation.set == name
    ]
    sample = sample[:24] + sample[-12:]
    loaded = load(ModelConfig(path=str(testbed_folder)))
    batches = forced_batches(loaded, sample, batch_size=16)
    assert behaviour.truth is not None
    bias_LE = load_file(behaviour.truth)["bias"]
    baseline = forced(loaded, batches, None)
    planted, against = (
        forced(loaded, batches, Mask.from_bias(strength * bias_LE, inspect_routers(loaded.model), {}))
        for strength in (4, -4)
    )
    assert len(baseline.margins) == 24
    assert len(baseline.kept["utility/benign"]) == 12
    rates = [forced_rates(baseline, likelihoods) for likelihoods in (baseline, planted, against)]
    assert rates[1]["target"] > 0.95 > rates[0]["target"] > rates[2]["target"]
    assert worst_loss(rates[0]) == 0
    assert worst_loss(rates[1]) < 0.1
