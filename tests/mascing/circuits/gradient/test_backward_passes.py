"""Backward passes within a token budget: the same gradient from parts, and what happens when memory runs out."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from mascing.circuits.gradient.search import candidates
from mascing.errors import ModelError
from mascing.models.loading import Loaded
from mascing.models.out_of_memory import is_out_of_memory
from mascing.routers.spec import inspect_routers
from mascing.schemas.config import ComputeConfig
from mascing.schemas.settings.method_settings import GradientConfig
from tests.mascing.mask_rules import bias_of
from tests.mascing.olmoe_folder import conversation, loaded

ASKED = [
    conversation(f"c{number}", "do it" + " now" * number).model_copy(update={"wanted": "no.", "unwanted": "yes"})
    for number in range(8)
]
BENIGN = [asked.model_copy(update={"set": "utility/benign"}) for asked in ASKED]
SIGMA = torch.ones(3)
CONFIG = GradientConfig(steps=4, batch_size=8, l1=(1e-3,), alphas=(1.0,))


@pytest.fixture(scope="module")
def tiny() -> Loaded:
    return loaded()


def search(tiny: Loaded, compute: ComputeConfig) -> tuple[Tensor, str]:
    found = candidates(tiny, inspect_routers(tiny.model), ASKED, BENIGN, SIGMA, CONFIG, 0, compute=compute)
    [candidate] = found.candidates
    return bias_of(candidate.mask), found.memory


@contextmanager
def room_for(tiny: Loaded, tokens: int, recomputed: int | None = None) -> Iterator[list[int]]:
    """A forward of more tokens runs out of memory, unless it recomputes and has no more than ``recomputed``."""
    passed: list[int] = []

    def refuse(_: object, inputs: tuple[Tensor]) -> None:
        [hidden_BTH] = inputs[:1]
        size = hidden_BTH.shape[0] * hidden_BTH.shape[1]
        room = recomputed if recomputed is not None and layer.training else tokens
        if size > room:
            raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {size} MiB")
        passed.append(size)

    layer = tiny.model.model.layers[-1]
    hook = layer.register_forward_pre_hook(refuse)
    try:
        yield passed
    finally:
        hook.remove()


def test_the_budget_bounds_the_passes_and_does_not_change_the_mask(tiny: Loaded) -> None:
    expected_LE, _ = search(tiny, ComputeConfig())
    with room_for(tiny, 10_000) as whole:
        search(tiny, ComputeConfig())
    with room_for(tiny, 10_000) as parts:
        mask_LE, memory = search(tiny, ComputeConfig(backward_tokens=400))
    assert max(parts) <= 400 < max(whole)
    assert memory == ""
    assert expected_LE.any()
    assert torch.allclose(mask_LE, expected_LE, rtol=1e-3)


def test_what_does_not_fit_is_halved(tiny: Loaded) -> None:
    expected_LE, _ = search(tiny, ComputeConfig())
    with room_for(tiny, 300):
        mask_LE, memory = search(tiny, ComputeConfig())
    assert torch.allclose(mask_LE, expected_LE, rtol=1e-3)
    assert memory.startswith("memory ran out: at most ")
    assert int(memory.split()[5]) <= 300


def test_layers_are_recomputed_where_one_conversation_does_not_fit_otherwise(tiny: Loaded) -> None:
    expected_LE, _ = search(tiny, ComputeConfig())
    with room_for(tiny, 60, recomputed=10_000):
        mask_LE, memory = search(tiny, ComputeConfig())
    assert torch.allclose(mask_LE, expected_LE, rtol=1e-3)
    assert memory.endswith("layers are recomputed")
    assert not any(module.training for module in tiny.model.modules())


@pytest.mark.parametrize(("checkpointing", "advice"), [(None, ""), (False, "set compute.gradient_checkpointing")])
def test_no_room_for_one_conversation_says_what_to_do(tiny: Loaded, checkpointing: bool | None, advice: str) -> None:
    with (
        room_for(tiny, 3),
        pytest.raises(ModelError, match=f"one conversation of .* does not fit into memory: {advice}"),
    ):
        search(tiny, ComputeConfig(gradient_checkpointing=checkpointing))


def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    with pytest.raises(RuntimeError) as no_memory:
        torch.empty(2**55)
    with pytest.raises(RuntimeError) as mismatch:
        torch.ones(2) @ torch.ones(3)
    assert is_out_of_memory(no_memory.value)
    assert not is_out_of_memory(mismatch.value)
