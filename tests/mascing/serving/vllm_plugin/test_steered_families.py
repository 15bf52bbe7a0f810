"""vLLM, plain and under masks, on the tiny checkpoint of every family: what transformers says and selects."""

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

import mascing
from mascing.masks.mask import Mask
from mascing.routers.spec import RouterSpec
from mascing.serving.vllm_plugin.offline import Request, SteeredVllm
from tests.mascing.serving.vllm_plugin.tiny_checkpoints import PROMPTS, SERVED, engine_args, save

vllm = pytest.importorskip("vllm")

TOKENS = 24


@pytest.fixture
def _let_go() -> Iterator[None]:
    """vLLM keeps process groups and caches of the model before."""
    yield
    vllm.distributed.cleanup_dist_env_and_memory()


@pytest.mark.usefixtures("_let_go")
@pytest.mark.parametrize("family", SERVED)
def test_masks_do_in_vllm_what_they_do_in_transformers(family: str, tmp_path: Path) -> None:
    folder = save(family, tmp_path)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    model.generation_config.eos_token_id = None
    spec = mascing.inspect_routers(model)
    masks = [None, added(spec, seed=1), added(spec, seed=2), forced_off(spec), overridden(spec)]
    expected = [[greedy(model, prompt, mask) for prompt in PROMPTS] for mask in masks]
    assert all(len(set(reply)) > 2 for reply in expected[0]), "replies that repeat one token would compare nothing"
    assert all(replies != expected[0] for replies in expected[1:]), "masks that change nothing would compare nothing"

    traces = [recorded(model, prompt) for prompt in PROMPTS]
    # vLLM changes the classes of transformers that it runs, for the whole process: `model` is of no use from here on.
    assert plain(family, folder) == expected[0]
    vllm.distributed.cleanup_dist_env_and_memory()
    served = loaded(family, folder)
    assert served.spec == spec
    requests = [Request(prompt, mask) for mask in masks for prompt in PROMPTS]
    replies = dict(served.generate(requests, max_new_tokens=TOKENS))
    said = iter(replies[number].token_ids for number in range(len(requests)))
    assert [[next(said) for _ in PROMPTS] for _ in masks] == expected

    for number, z_TLE, ids_TLK in served.record(PROMPTS):
        expected_z_TLE, expected_ids_TLK = traces[number]
        np.testing.assert_allclose(z_TLE, expected_z_TLE, atol=1e-3)
        assert np.array_equal(np.sort(ids_TLK), np.sort(expected_ids_TLK))

    off_LE = forced_off(spec).rule.entries_LE.numpy()
    assert count_of(served, spec, None)[off_LE].sum() > 0
    assert count_of(served, spec, masks[3])[off_LE].sum() == 0
    override: Any = masks[4]
    counts_LE = count_of(served, spec, override)
    assert counts_LE[override.rule.deactivated_LE.numpy()].sum() == 0
    assert (counts_LE[override.rule.activated_LE.numpy()] == sum(map(len, PROMPTS))).all()


def plain(family: str, folder: Path) -> list[list[int]]:
    """What vLLM says where the plugin is not turned on."""
    sampling = vllm.SamplingParams(temperature=0, max_tokens=TOKENS, ignore_eos=True)
    prompts = [{"prompt_token_ids": prompt} for prompt in PROMPTS]
    replies = vllm.LLM(**engine_args(family, folder)).generate(prompts, sampling, use_tqdm=False)
    return [list(reply.outputs[0].token_ids) for reply in replies]


def loaded(family: str, folder: Path, **changes: Any) -> SteeredVllm:
    given = {**engine_args(family, folder), **changes}
    return SteeredVllm(given.pop("model"), dtype=given.pop("dtype"), slots=4, capture=True, engine_args=given)


def added(spec: RouterSpec, seed: int) -> Mask:
    drawn = torch.randn(spec.n_layers, spec.n_experts, generator=torch.Generator().manual_seed(seed))
    return Mask.from_bias(2 * drawn, spec)


def forced_off(spec: RouterSpec) -> Mask:
    bias_LE = torch.zeros(spec.n_layers, spec.n_experts)
    bias_LE[:, [1, 3]] = -1e4
    return Mask.from_bias(bias_LE, spec)


def overridden(spec: RouterSpec) -> Mask:
    on_LE = torch.zeros(spec.n_layers, spec.n_experts, dtype=torch.bool)
    off_LE = on_LE.clone()
    on_LE[:, 2] = off_LE[:, 0] = off_LE[:, 5] = True
    return Mask.from_override(on_LE, off_LE, on_LE.float() - off_LE.float(), spec)


def greedy(model: Any, prompt: list[int], mask: Mask | None) -> list[int]:
    with mascing.steer(model, mask) if mask is not None else nullcontext():
        written = model.generate(torch.tensor([prompt]), max_new_tokens=TOKENS, do_sample=False)
    return [int(token) for token in written[0, len(prompt) :]]


def recorded(model: Any, prompt: list[int]) -> tuple[np.ndarray, np.ndarray]:
    with mascing.record(model) as trace, torch.inference_mode():
        model(input_ids=torch.tensor([prompt]))
    return trace.logits[0].numpy(), trace.selected[0].numpy()


def count_of(served: SteeredVllm, spec: RouterSpec, mask: Mask | None) -> np.ndarray:
    """How many tokens of the prompts really went to each expert, [L, E]."""
    counts_LE = np.zeros((spec.n_layers, spec.n_experts), dtype=int)
    for _, _, ids_TLK in served.record(PROMPTS, mask):
        for layer in range(spec.n_layers):
            counts_LE[layer] += np.bincount(ids_TLK[:, layer].flatten(), minlength=spec.n_experts)
    return counts_LE
