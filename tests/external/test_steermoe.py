"""SteerMoE's published tables of activations: https://github.com/adobe-research/SteerMoE, for research alone."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mascing.circuits.steermoe.risk_difference import Selections
from mascing.circuits.steermoe.search import strongest_experts
from mascing.masks.foreign.choice import Choice
from mascing.masks.foreign.expert_list import placed
from mascing.masks.foreign.steermoe_table import Table, read, table_of
from mascing.masks.mask import Mask
from mascing.routers.spec import RouterSpec
from tests.external.published import clone_of

MODELS = {
    "Qwen/Qwen3-30B-A3B": (48, 128, 8),
    "allenai/OLMoE-1B-7B-0125-Instruct": (16, 64, 8),
    "microsoft/Phi-3.5-MoE-instruct": (32, 16, 2),
    "mistralai/Mixtral-8x7B-Instruct-v0.1": (32, 8, 2),
    "openai/gpt-oss-120b": (36, 128, 4),
    "openai/gpt-oss-20b": (24, 32, 4),
}
"""MoE layers, experts and top-k, as the models' own configs have them."""
TASKS = ("faithfulness", "safety")
SETTINGS = [("faithfulness", 0), ("safety", 0), ("safety", 1)]


@pytest.fixture(scope="module")
def published() -> Path:
    return clone_of("adobe-research/SteerMoE") / "activations"


def data_of(published: Path, model: str, task: str) -> bytes:
    return (published / f"activations_[{model.replace('/', '--')}]_[{task}].pkl").read_bytes()


def spec_of(model: str) -> RouterSpec:
    n_layers, n_experts, top_k = MODELS[model]
    return RouterSpec("", tuple(range(n_layers)), n_experts, top_k, "softmax-topk")


def chosen_as_published(table: Table, choice: Choice, spec: RouterSpec) -> torch.Tensor:
    """What their function `steer_moe` makes of the table (src/utils.py), written again: float [L, E] of 1, 0 and -1.

    All experts by falling size of the risk difference; the first of each sign; an activated expert only while its layer
    has fewer than top-k.
    """
    difference = table["risk_diff"] * (-1 if choice.reverse else 1)
    order = np.argsort(-np.abs(table["risk_diff"]), kind="stable")
    positive = [row for row in order if difference[row] > 0][: choice.n_activated]
    negative = [row for row in order if difference[row] < 0][: choice.n_deactivated]
    weights_LE = torch.zeros(spec.n_layers, spec.n_experts)
    for row in [*positive, *negative]:
        layer, expert = int(table["layer"][row]), int(table["expert"][row])
        if difference[row] < 0:
            weights_LE[layer, expert] = -1
        elif int((weights_LE[layer] > 0).sum()) < spec.top_k:
            weights_LE[layer, expert] = 1
    return weights_LE


def choice_of(published: Path, model: str, task: str, reverse: int) -> Choice:
    """The numbers of activated and deactivated experts that stand beside the tables."""
    lines = map(json.loads, (published / "num_experts.jsonl").read_text().splitlines())
    numbers: dict[str, Any] = {
        line["Activation"]: line["Num Experts"]
        for line in lines
        if (line["model"], line["Task"], line["Reverse"]) == (model, task, reverse)
    }
    return Choice(numbers["Activated"], numbers["Deactivated"], bool(reverse))


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("model", MODELS)
def test_the_risk_difference_of_every_expert_is_the_published_one(published: Path, model: str, task: str) -> None:
    table, spec = table_of(data_of(published, model, task)), spec_of(model)
    place = table["layer"].astype(int), table["expert"].astype(int)
    arrays = np.zeros((4, spec.n_layers, spec.n_experts))
    for number, name in enumerate(("a2", "a1", "d2", "d1")):
        arrays[number][place] = table[name]
    selected_SLE = torch.tensor(arrays[:2]).long()
    tokens_SL = (selected_SLE + torch.tensor(arrays[2:]).long())[..., 0]
    assert (selected_SLE.sum(-1) == spec.top_k * tokens_SL).all()
    published_LE = np.zeros((spec.n_layers, spec.n_experts))
    published_LE[place] = table["risk_diff"]
    rates_SLE = selected_SLE.double() / tokens_SL[..., None].double()
    assert torch.equal(rates_SLE[1] - rates_SLE[0], torch.tensor(published_LE))  # float64: to the last bit
    ours_LE = Selections(selected_SLE, tokens_SL).risk_difference()  # float32, as masks hold it
    assert torch.allclose(ours_LE.double(), torch.tensor(published_LE), rtol=0, atol=1e-7)


@pytest.mark.parametrize(("task", "reverse"), SETTINGS)
@pytest.mark.parametrize("model", MODELS)
def test_an_imported_mask_forces_the_experts_that_their_code_steers(
    published: Path, model: str, task: str, reverse: int
) -> None:
    data, spec, choice = data_of(published, model, task), spec_of(model), choice_of(published, model, task, reverse)
    result = placed(read(data, choice), spec)
    assert torch.equal(result.mask.rule.signed_LE, chosen_as_published(table_of(data), choice, spec))
    assert Mask.from_bytes(result.mask.to_bytes()) == result.mask


@pytest.mark.parametrize(("task", "reverse"), SETTINGS)
@pytest.mark.parametrize("model", MODELS)
def test_our_own_search_chooses_the_same_experts_where_their_layers_have_room(
    published: Path, model: str, task: str, reverse: int
) -> None:
    """Theirs drops an expert whose layer is full, and ours takes the next best one in its place."""
    table, spec = table_of(data_of(published, model, task)), spec_of(model)
    choice = choice_of(published, model, task, reverse)
    score_LE = torch.zeros(spec.n_layers, spec.n_experts, dtype=torch.float64)
    score_LE[table["layer"].astype(int), table["expert"].astype(int)] = torch.tensor(
        table["risk_diff"] * (-1 if reverse else 1)
    )
    theirs_LE = chosen_as_published(table, choice, spec)
    on_LE = strongest_experts(score_LE, choice.n_activated, spec.top_k)
    off_LE = strongest_experts(-score_LE, choice.n_deactivated, spec.n_experts - spec.top_k)
    dropped = choice.n_activated + choice.n_deactivated - int((theirs_LE != 0).sum())
    assert int(((theirs_LE > 0) & ~on_LE).sum()) == int(((theirs_LE < 0) & ~off_LE).sum()) == 0
    assert int((on_LE | off_LE).sum()) - int((theirs_LE != 0).sum()) == dropped
