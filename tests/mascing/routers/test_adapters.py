"""Adapters: on a router they are refused by name, elsewhere they are part of the model."""

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from torch import nn

import mascing
from mascing.errors import MaskError, ModelError
from mascing.masks.mask import Mask
from tests.mascing.routers.families.family_models import build


def merge_first(routers: int) -> str:
    return rf"an adapter .* is on {routers} routers \(first \S+(router|gate)\).*merge_and_unload"


@pytest.mark.parametrize(
    ("family", "targets"),
    [
        ("mixtral", {"target_modules": ["gate"]}),
        ("qwen3_moe", {"target_modules": ["gate"]}),
        ("qwen3_moe", {"target_parameters": ["gate.weight"]}),
        ("phimoe", {"target_modules": "all-linear"}),
        ("jamba", {"target_modules": "all-linear"}),
        ("dbrx", {"target_modules": "all-linear"}),
        ("hunyuan_v1_moe", {"target_modules": "all-linear"}),
        ("llama4_text", {"target_modules": ["router"]}),
    ],
)
def test_lora_on_routers_is_refused_with_what_to_do(family: str, targets: dict[str, Any]) -> None:
    adapted = peft.get_peft_model(build(family), peft.LoraConfig(**targets))
    with pytest.raises(ModelError, match=merge_first(2)):
        mascing.inspect_routers(adapted)
    mascing.inspect_routers(adapted.merge_and_unload())


@pytest.mark.parametrize(
    "adapter",
    [
        peft.LoraConfig(target_modules=["router"], use_dora=True),
        peft.IA3Config(target_modules=["router", "q_proj"], feedforward_modules=[]),
        peft.LoraConfig(target_modules=["q_proj"], modules_to_save=["router"]),
    ],
    ids=["DoRA", "IA3", "modules_to_save"],
)
def test_other_adapters_on_routers_are_refused_alike(adapter: peft.PeftConfig) -> None:
    with pytest.raises(ModelError, match=merge_first(2)):
        mascing.inspect_routers(peft.get_peft_model(build("jamba"), adapter))


def test_an_adapter_on_one_router_does_not_drop_its_layer() -> None:
    adapter = peft.LoraConfig(target_modules=["router"], layers_to_transform=[3], layers_pattern="layers")
    adapted = peft.get_peft_model(build("jamba"), adapter)
    with pytest.raises(ModelError, match=merge_first(1)):
        mascing.inspect_routers(adapted.base_model.model)


class Wrapped(nn.Module):
    """An adapter of someone's own, which adds to what the wrapped router says."""

    def __init__(self, wrapped: nn.Module) -> None:
        super().__init__()
        self.wrapped = wrapped

    def forward(self, *args: Any) -> Any:
        return self.wrapped(*args)


@pytest.mark.parametrize(
    ("family", "block", "leaf"), [("jamba", "feed_forward", "router"), ("glm4_moe", "mlp", "gate")]
)
def test_a_wrapper_on_one_router_does_not_drop_its_layer(family: str, block: str, leaf: str) -> None:
    model = build(family)
    layer = getattr(model.model.layers[-1], block)
    setattr(layer, leaf, Wrapped(getattr(layer, leaf)))
    with pytest.raises(ModelError, match=rf"replaced 1 routers \(first \S+{leaf}, a Wrapped\).*merge it"):
        mascing.inspect_routers(model)


@pytest.mark.parametrize("targets", [{"target_modules": ["q_proj"]}, {"target_parameters": ["experts.gate_up_proj"]}])
def test_lora_elsewhere_is_recorded_and_steered(targets: dict[str, Any]) -> None:
    plain_spec = mascing.inspect_routers(build("qwen3_moe"))
    adapter = peft.LoraConfig(**targets, init_lora_weights=False)
    model = peft.get_peft_model(build("qwen3_moe"), adapter).eval()
    tokens = torch.arange(10)[None]

    assert mascing.inspect_routers(model) == plain_spec
    with torch.no_grad(), mascing.record(model) as trace:
        unsteered = model(input_ids=tokens).logits
    assert trace.logits.shape == (1, 10, 2, 8)
    with torch.no_grad(), mascing.steer(model, Mask.from_bias(torch.arange(16.0).reshape(2, 8), plain_spec)):
        assert not torch.equal(model(input_ids=tokens).logits, unsteered)
    with torch.no_grad():
        assert torch.equal(model(input_ids=tokens).logits, unsteered)


def test_an_adapted_model_is_not_baked(tmp_path: Path) -> None:
    model = peft.get_peft_model(build("gpt_oss"), peft.LoraConfig(target_modules=["q_proj"]))
    mask = Mask.from_bias(torch.ones(2, 8), mascing.inspect_routers(model))
    with pytest.raises(MaskError, match="merge_and_unload"):
        mascing.bake(model, mask, tmp_path)
    assert list(tmp_path.iterdir()) == []
