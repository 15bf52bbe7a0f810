from typing import Any

import pytest
import torch
from safetensors.torch import load
from torch import Tensor

from mascing.circuits.gradient import attribution
from mascing.circuits.gradient.search import candidates
from mascing.models.loading import Loaded
from mascing.routers.spec import inspect_routers
from mascing.schemas.cards.search_cost import Passes
from mascing.schemas.config import ComputeConfig
from mascing.schemas.settings.method_settings import GradientConfig
from tests.mascing.mask_rules import bias_of
from tests.mascing.olmoe_folder import conversation, loaded

SIGMA = torch.tensor([1.0, 2.0, 0.5])
ASKED = [
    conversation(f"c{number}", "do it" + " now" * number).model_copy(update={"wanted": "no.", "unwanted": "yes"})
    for number in range(5)
]


@pytest.fixture(scope="module")
def tiny() -> Loaded:
    return loaded()


def effect(tiny: Loaded, batch_size: int = 8, **compute: Any) -> Tensor:
    return attribution.attribution(tiny, ASKED, SIGMA, batch_size, ComputeConfig(**compute)).effect_LE


def test_one_backward_scores_every_expert(tiny: Loaded) -> None:
    attributed = attribution.attribution(tiny, ASKED, SIGMA, batch_size=8)
    assert attributed.effect_LE.shape == (3, 8)
    assert attributed.effect_LE.all()
    assert attributed.passes == Passes(forward=1, backward=1, conversations=8)
    assert str(attributed.passes) == "1 forward and 1 backward passes of 8 conversations"


def test_the_map_does_not_depend_on_how_it_is_computed(tiny: Loaded) -> None:
    in_one_batch = effect(tiny)
    assert torch.allclose(effect(tiny, batch_size=2), in_one_batch, rtol=1e-3, atol=1e-5)
    assert torch.allclose(effect(tiny, gradient_checkpointing=True), in_one_batch, rtol=1e-5, atol=1e-7)
    assert torch.allclose(effect(tiny, backward_tokens=100), in_one_batch, rtol=1e-4, atol=1e-6)
    assert not any(module.training for module in tiny.model.modules())


def test_the_map_survives_its_file(tiny: Loaded) -> None:
    attributed = attribution.attribution(tiny, ASKED, SIGMA, batch_size=8)
    assert torch.equal(load(attribution.to_bytes(attributed))["effect"], attributed.effect_LE)


def test_a_bfloat16_model_tells_the_same_experts(tiny: Loaded) -> None:
    half = Loaded(loaded().model.to(torch.bfloat16), tiny.tokenizer)
    rounded, exact = effect(half).flatten(), effect(tiny).flatten()
    assert torch.corrcoef(torch.stack([rounded, exact]))[0, 1] > 0.98
    spec = inspect_routers(half.model)
    config = GradientConfig(steps=4, batch_size=4, l1=(0.0,), alphas=(1.0,))
    [candidate] = candidates(half, spec, ASKED, [], SIGMA, config, seed=0).candidates
    bias_LE = bias_of(candidate.mask)
    assert bias_LE.isfinite().all()
    assert bias_LE.dtype == torch.float32


@pytest.mark.parametrize("recompute", [False, True])
def test_the_passes_are_those_that_the_model_ran(tiny: Loaded, recompute: bool) -> None:
    spec = inspect_routers(tiny.model)
    config = GradientConfig(steps=3, batch_size=2, l1=(0.0, 0.1), alphas=(1.0,))
    ran = []
    benign = [asked.model_copy(update={"set": "utility/benign"}) for asked in ASKED]
    # Once a forward, and once more where the layer is computed again, which is not told: it depends on where the search
    # runs. 2 tokens a row are the taps' own proof.
    layer = tiny.model.model.layers[-1].mlp
    hook = layer.register_forward_pre_hook(lambda module, arguments: ran.append(arguments[0].shape[1] > 2))
    try:
        compute = ComputeConfig(gradient_checkpointing=recompute)
        passes = candidates(tiny, spec, ASKED, benign, SIGMA, config, seed=0, compute=compute).passes
    finally:
        hook.remove()
    assert passes == Passes(forward=sum(ran) // (2 if recompute else 1), backward=12, conversations=2)
