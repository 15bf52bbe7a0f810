"""The recorded selections of every family are the model's own: on padded batches, with corrections, steered or not."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor

from mascing.conversations.chat import Prompt
from mascing.masks.mask import Mask
from mascing.routers.spec import inspect_routers
from mascing.steering.steer import steer
from mascing.traces.batch_recording import record_prompts
from mascing.traces.recording import record
from tests.mascing.mask_rules import bias_of
from tests.mascing.routers.families.family_models import EXPERTS, FAMILIES, TOP_K, VOCABULARY, build
from tests.mascing.routers.families.outcomes import expect
from tests.mascing.routers.families.selections import Captured, captured, naive

LENGTHS = (12, 5, 9)
BY_LENGTH = (0, 2, 1)
"""Order of the prompts in their one batch, which is padded on the right."""


def prompts() -> list[Prompt]:
    draw = torch.Generator().manual_seed(0)
    rows = [torch.randint(3, VOCABULARY, (length,), generator=draw).tolist() for length in LENGTHS]
    return [Prompt(str(index), tuple(row), (1, 3), (3, len(row))) for index, row in enumerate(rows)]


def left_padded() -> tuple[Tensor, Tensor]:
    ids_BT, mask_BT = torch.zeros(2, len(LENGTHS), max(LENGTHS), dtype=torch.long)
    for row, prompt in enumerate(prompts()):
        ids_BT[row, -len(prompt.token_ids) :] = torch.tensor(prompt.token_ids)
        mask_BT[row, -len(prompt.token_ids) :] = 1
    return ids_BT, mask_BT


@pytest.mark.parametrize("name", FAMILIES)
def test_recorded_selections_are_those_of_the_definition(name: str) -> None:
    model = build(name)
    spec = inspect_routers(model)
    bias_LE = 2 * torch.randn(spec.n_layers, EXPERTS, generator=torch.Generator().manual_seed(1))
    compared = 0
    for mask in (None, Mask.from_bias(bias_LE, spec)):
        with steered(model, mask), captured(model) as layers:
            ours_TLK, z_TLE = recorded_batch(model)
        wanted = definition(name, layers, model.config, mask)
        compared += same(ours_TLK, [[of_layer[row] for row in rows_of_the_batch()] for of_layer in wanted])
        if mask is None and "correction" in spec.scoring:
            assert (z_TLE.topk(TOP_K).indices.sort(-1).values != ours_TLK.sort(-1).values).any()

        ids_BT, mask_BT = left_padded()
        with steered(model, mask), captured(model) as layers, record(model) as trace:
            model(ids_BT, attention_mask=mask_BT)
        compared += same(trace.selected.flatten(0, 1), definition(name, layers, model.config, mask))
    expect(name, "recorded selections", f"0 of {compared} differ, steered or not")


@contextmanager
def steered(model: Any, mask: Mask | None) -> Iterator[None]:
    with torch.no_grad(), nullcontext() if mask is None else steer(model, mask):
        yield


def recorded_batch(model: Any) -> tuple[Tensor, Tensor]:
    """The selections and logits of all prompts, one after another."""
    routings = record_prompts(model, prompts(), 10_000)
    return torch.cat([routing.selected for routing in routings]), torch.cat([routing.z for routing in routings])


def rows_of_the_batch() -> list[int]:
    """Where the recorded tokens of each prompt, from its question on, stand in the batch."""
    longest = max(LENGTHS)
    places = {index: place for place, index in enumerate(BY_LENGTH)}
    return [places[index] * longest + step for index, length in enumerate(LENGTHS) for step in range(1, length)]


def definition(name: str, layers: list[Captured], config: Any, mask: Mask | None) -> list[list[list[int]]]:
    """The experts that each token of the last batch selects in each layer; E for longcat's zero experts."""
    selected = []
    for index, layer in enumerate(layers):
        bias = [0.0] * EXPERTS if mask is None else bias_of(mask)[index].tolist()

        def edit(logits: list[float], correction: list[float], bias: list[float] = bias) -> Any:
            return [z + b for z, b in zip(logits, bias, strict=True)], correction

        chosen = naive(name, layer, config, [edit] * sum(len(inputs) for inputs in layer.inputs))
        # Installing the watches ran forwards of their own before.
        batch = chosen[-len(LENGTHS) * max(LENGTHS) :]
        selected.append([sorted(min(expert, EXPERTS) for expert in selection) for selection in batch])
    return selected


def same(ours_TLK: Tensor, wanted: list[list[list[int]]]) -> int:
    assert ours_TLK.sort(-1).values.transpose(0, 1).tolist() == wanted
    return ours_TLK.shape[0] * ours_TLK.shape[1]
