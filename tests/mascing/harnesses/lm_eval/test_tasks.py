"""lm-evaluation-harness runs its own tasks on a steered model, and says what the model says under that mask."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import CacheHook, CachingLM
from lm_eval.models.huggingface import HFLM
from torch import Tensor

from mascing.harnesses.lm_eval.steered_lm import SteeredLM
from mascing.models.loading import Loaded
from mascing.steering.steer import steer
from tests.mascing.harnesses.lm_eval.by_hand import greedy, log_likelihood, token_log_likelihoods
from tests.mascing.harnesses.steered_folder import SteeredFolder


@pytest.fixture(scope="module")
def model(steered_files: SteeredFolder) -> SteeredLM:
    return SteeredLM(str(steered_files.model), str(steered_files.mask), batch_size=8)


def said_by_hand(files: SteeredFolder, samples: list[dict[str, Any]]) -> list[list[float]]:
    # In their file the requests of a sample and the arguments of a request have names.
    asked = [[tuple(one.values()) for one in sample["arguments"].values()] for sample in samples]
    return [[log_likelihood(files.loaded, *pair) for pair in pairs] for pairs in asked]


def likelihoods(samples: list[dict[str, Any]]) -> list[list[float]]:
    return [[float(answer[0][0]) for answer in sample["resps"]] for sample in samples]


def test_their_command_line_runs_a_task_of_theirs_under_a_mask(
    steered_files: SteeredFolder, arc_easy: Path, tmp_path: Path
) -> None:
    arguments = f"pretrained={steered_files.model},mask={steered_files.mask}"
    command = [sys.executable, "-m", "mascing.harnesses.lm_eval", "run", "--model", "mascing"]
    command += ["--model_args", arguments, "--tasks", str(arc_easy), "--output_path", str(tmp_path), "--log_samples"]
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub")}
    done = subprocess.run(command, env=os.environ | offline, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    (file,), (sample_file,) = tmp_path.rglob("results_*.json"), tmp_path.rglob("samples_*.jsonl")
    results = json.loads(file.read_text())
    told = results["config"]["mascing"]
    assert told["mask_digest"] == steered_files.loaded_mask.digest
    assert set(told["tokens_steered"]) == {"0", "1", "2"}
    assert min(told["tokens_steered"].values()) > 1000
    samples = sorted(map(json.loads, sample_file.read_text().splitlines()), key=lambda row: row["doc_id"])
    with steer(steered_files.loaded.model, steered_files.loaded_mask):
        by_hand = said_by_hand(steered_files, samples)
    assert likelihoods(samples) == [pytest.approx(row, abs=1e-3) for row in by_hand]
    chosen = [max(range(4), key=row.__getitem__) for row in by_hand]
    right = sum(place == int(sample["target"]) for place, sample in zip(chosen, samples, strict=True))
    assert results["results"]["arc_easy_of_ours"]["acc,none"] == pytest.approx(right / 24)


def asked(kind: Any, *arguments: Any) -> list[Instance]:
    return [Instance(kind, {}, given, number) for number, given in enumerate(arguments)]


PAIRS = (("the red ", "door"), ("the red ", "hat is new"), ("Question: which?\nAnswer:", " a"))


def test_without_a_mask_it_is_their_own_model(steered_files: SteeredFolder, model: SteeredLM) -> None:
    requests = asked("loglikelihood", *PAIRS)
    theirs = HFLM(pretrained=str(steered_files.model), device="cpu", batch_size=8)
    plain = theirs.loglikelihood(requests, disable_tqdm=True)
    with model.steered.unsteered():
        assert model.loglikelihood(requests, disable_tqdm=True) == plain
        assert model.get_model_info()["mascing"]["mask_digest"] is None
    steered = model.loglikelihood(requests, disable_tqdm=True)
    assert all(abs(one[0] - other[0]) > 0.1 for one, other in zip(steered, plain, strict=True))


def test_generated_text_is_that_of_the_steered_model(steered_files: SteeredFolder, model: SteeredLM) -> None:
    contexts = [f"Question: What is {number} and 1?\nAnswer:" for number in range(4)]
    requests = asked("generate_until", *((text, {"until": ["\n"], "max_gen_toks": 6}) for text in contexts))
    loaded = steered_files.loaded
    with steer(loaded.model, steered_files.loaded_mask):
        wanted = [greedy(loaded, context, 6, "\n") for context in contexts]
    assert model.generate_until(requests, disable_tqdm=True) == wanted
    assert wanted != [greedy(loaded, context, 6, "\n") for context in contexts]


def test_rolling_likelihoods_are_those_of_the_steered_model(steered_files: SteeredFolder, model: SteeredLM) -> None:
    texts = ["a red door", "the second text is longer than the first"]
    loaded = steered_files.loaded
    with steer(loaded.model, steered_files.loaded_mask):
        wanted = [
            float(token_log_likelihoods(loaded.model, ids(loaded, text, model.prefix_token_id)).sum()) for text in texts
        ]
    assert model.loglikelihood_rolling(asked("loglikelihood_rolling", *zip(texts)), disable_tqdm=True) == pytest.approx(
        wanted, abs=1e-3
    )


def ids(loaded: Loaded, text: str, prefix: int) -> Tensor:
    return torch.tensor([prefix, *loaded.tokenizer(text).input_ids])


def test_the_chat_template_is_that_of_the_checkpoint(model: SteeredLM) -> None:
    said = model.apply_chat_template([{"role": "user", "content": "which?"}])
    assert said == "<|im_start|>user\nwhich?<|im_end|>\n<|im_start|>assistant\n"


def test_a_cache_of_answers_keeps_masks_apart(model: SteeredLM, tmp_path: Path) -> None:
    requests = asked("loglikelihood", *PAIRS)

    def answers() -> Any:
        return CachingLM(model, str(tmp_path / "answers.db")).loglikelihood(requests)

    with model.steered.unsteered():
        unsteered = answers()
    steered, before = answers(), dict(model.steered.tokens)
    assert steered != unsteered
    assert answers() == steered
    assert dict(model.steered.tokens) == before, "the model was asked again"
    model.set_cache_hook(CacheHook(None))
    assert model.loglikelihood(requests, disable_tqdm=True) == steered
