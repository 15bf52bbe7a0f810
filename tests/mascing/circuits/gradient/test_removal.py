"""Experts in the order of their removal: the whole planted circuit comes first, also what backs it up."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mascing.circuits.gradient.attribution import attribution
from mascing.circuits.gradient.removal import removal_order
from mascing.conversations.splits import split_of
from mascing.errors import DataError
from mascing.models.loading import Loaded, load
from mascing.routers.tap import edits_of
from mascing.schemas.config import ComputeConfig, ModelConfig, SplitConfig
from mascing.testbeds.planted import conversations
from tests.mascing.olmoe_folder import conversation, loaded
from tests.mascing.routers.families.selections import captured

BEHAVIOUR = "jailbreak-defence"
SIGMA = torch.tensor([1.0, 2.0, 0.5])
ASKED = [conversation("c", "do it now").model_copy(update={"wanted": "no.", "unwanted": "yes"})]


@pytest.fixture
def tiny() -> Loaded:
    return loaded()


def test_the_planted_circuit_is_taken_away_first(testbed_folder: Path) -> None:
    rows = [row for row in conversations(BEHAVIOUR, 0) if row.set == "target"]
    train = [row for row in rows if split_of(row.group_id, SplitConfig()) == "train"][:64]
    order = removal_order(load(ModelConfig(path=str(testbed_folder))), train, torch.ones(4), 32, ComputeConfig(), 16)
    planted = load_file(testbed_folder / f"truth-{BEHAVIOUR}.safetensors")["bias"] > 0
    assert {*map(tuple, planted.nonzero().tolist())} <= {*order[:12]}


def test_an_expert_that_no_token_selects_has_no_effect_to_take_away(tiny: Loaded) -> None:
    for block in tiny.model.model.layers:  # otherwise all experts share in the weights of the selected ones
        block.mlp.gate.norm_topk_prob = True
    with captured(tiny.model) as layers:
        effect_LE = attribution(tiny, ASKED, SIGMA, 8, only_selected=True).effect_LE
    selected = {(layer, expert) for layer, of in enumerate(layers) for chosen in of.selections for expert in chosen}
    with_effect = {*map(tuple, (effect_LE.abs() > 1e-4 * effect_LE.abs().max()).nonzero().tolist())}  # beyond rounding
    assert with_effect
    assert with_effect <= selected
    assert attribution(tiny, ASKED, SIGMA, 8).effect_LE.all()
    assert len(selected) < 3 * 8


def test_all_that_can_be_off_at_once_are_ordered_once_and_the_model_is_left_as_it_was(tiny: Loaded) -> None:
    order = removal_order(tiny, ASKED, SIGMA, 8, ComputeConfig(), 100)
    assert len({*order}) == len(order) == 3 * 6
    assert not edits_of(tiny.model)
    with pytest.raises(DataError):
        removal_order(tiny, [conversation("c", "do it now")], SIGMA, 8, ComputeConfig(), 4)
