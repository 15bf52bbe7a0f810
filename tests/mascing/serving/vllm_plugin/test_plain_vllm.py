"""vLLM without masks, on the tiny checkpoint of every family: the tokens of transformers."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.mascing.serving.vllm_plugin.tiny_checkpoints import SERVED, engine_args, save

vllm = pytest.importorskip("vllm")

PROMPTS = [[5, 6, 7, 8], list(range(20, 60)), [100, 3, 250, 44, 44, 44, 9]]
TOKENS = 24


@pytest.fixture
def _let_go() -> Iterator[None]:
    """vLLM keeps process groups and caches of the model before."""
    yield
    vllm.distributed.cleanup_dist_env_and_memory()


@pytest.mark.usefixtures("_let_go")
@pytest.mark.parametrize("family", SERVED)
def test_greedy_tokens_are_those_of_transformers(family: str, tmp_path: Path) -> None:
    folder = save(family, tmp_path)
    expected = of_transformers(folder)
    assert all(len(set(reply)) > 2 for reply in expected), "replies that repeat one token would compare nothing"
    assert of_vllm(family, folder) == expected


def of_transformers(folder: Path) -> list[list[int]]:
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    model.generation_config.eos_token_id = None
    return [
        model.generate(torch.tensor([prompt]), max_new_tokens=TOKENS, do_sample=False)[0, len(prompt) :].tolist()
        for prompt in PROMPTS
    ]


def of_vllm(family: str, folder: Path) -> list[list[int]]:
    sampling = vllm.SamplingParams(temperature=0, max_tokens=TOKENS, ignore_eos=True)
    prompts = [{"prompt_token_ids": prompt} for prompt in PROMPTS]
    replies = vllm.LLM(**engine_args(family, folder)).generate(prompts, sampling, use_tqdm=False)
    return [list(reply.outputs[0].token_ids) for reply in replies]
