"""A model whose layers lie on several devices, and several models on one GPU.

There is no GPU where the tests run. The nearest to a second device: weights that accelerate keeps on disk and brings to
the CPU for each forward, with the hooks by which it moves hidden states between GPUs.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import dispatch_model

from mascing.masks.mask import Mask
from mascing.models.gpu_share import limit_gpu_memory
from mascing.routers.spec import inspect_routers
from mascing.steering.steer import steer
from mascing.traces.recording import record
from tests.mascing.tiny_olmoe import tiny_olmoe

IDS = torch.arange(4, 24).reshape(2, 10)


@pytest.fixture
def spread(tmp_path: Path) -> Any:
    """The experts and attention of the middle layer lie elsewhere."""
    model = tiny_olmoe()
    elsewhere = {"model.layers.1.mlp.experts", "model.layers.1.self_attn"}
    parts = ["model.embed_tokens", "model.layers.0", "model.layers.2", "model.norm", "model.rotary_emb", "lm_head"]
    parts += [f"model.layers.1.{part}" for part in ("input_layernorm", "post_attention_layernorm", "mlp.gate")]
    places = dict.fromkeys(parts, "cpu") | dict.fromkeys(elsewhere, "disk")
    dispatch_model(model, places, main_device="cpu", offload_dir=tmp_path, force_hooks=True)
    assert model.model.layers[1].mlp.experts.gate_up_proj.is_meta
    return model


def routing(model: Any) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.no_grad(), record(model) as trace:
        model(input_ids=IDS)
    return trace.logits, trace.selected


def test_routers_are_recorded_as_on_one_device(spread: Any) -> None:
    assert all(torch.equal(*both) for both in zip(routing(spread), routing(tiny_olmoe()), strict=True))


def test_masks_act_as_on_one_device(spread: Any) -> None:
    whole = tiny_olmoe()
    spec = inspect_routers(whole)
    assert inspect_routers(spread) == spec
    mask = Mask.from_bias(torch.randn(3, 8, generator=torch.Generator().manual_seed(0)) * 2, spec)
    plain = replies(whole)
    with steer(whole, [mask, None]), steer(spread, [mask, None]) as handle:
        steered = replies(spread)
        assert torch.equal(steered, replies(whole))
    assert not torch.equal(steered[0], plain[0])
    assert torch.equal(steered[1], plain[1])
    assert torch.equal(replies(spread), plain)
    assert all(handle.counters.values())


def replies(model: Any) -> torch.Tensor:
    generated: torch.Tensor = model.generate(input_ids=IDS, max_new_tokens=6, do_sample=False)
    return generated


def test_the_share_of_a_gpu_is_set_as_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[float] = []
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", limits.append)
    limit_gpu_memory(0.5)
    assert limits == []  # no GPU here
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for num_gpus in (0, 1, 2, 0.5, 0.25, 0.02):
        limit_gpu_memory(num_gpus)
    assert limits == pytest.approx([0.48, 0.23, 0.01])
