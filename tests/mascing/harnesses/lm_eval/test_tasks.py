"""lm-evaluation-harness runs its own tasks on a steered model, and says what the model says under that mask."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from lm_eval import simple_evaluate
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from mascing.harnesses.lm_eval.steered_lm import SteeredLM
from mascing.steering.steer import steer
from tests.mascing.harnesses.lm_eval.by_hand import greedy, log_likelihood, token_log_likelihoods
from tests.mascing.harnesses.steered_folder import SteeredFolder


@pytest.fixture(scope="module")
def model(steered_files: SteeredFolder) -> SteeredLM:
    return SteeredLM(str(steered_files.model), str(steered_files.mask), batch_size=8)


def evaluated(model: Any, task: Path, **options: Any) -> dict[str, Any]:
    """The results of one task file of ours; none of the thousands of tasks that the harness has is looked at."""
    manager = TaskManager(include_path=str(task.parent), include_defaults=False)
    results: dict[str, Any] = simple_evaluate(
        model, tasks=manager.all_tasks, task_manager=manager, bootstrap_iters=0, **options
    )
    return results


def samples_of(results: dict[str, Any]) -> list[dict[str, Any]]:
    (samples,) = results["samples"].values()
    return list(samples)


def said_by_hand(files: SteeredFolder, samples: list[dict[str, Any]]) -> list[list[float]]:
    asked = [[(a["arg_0"], a["arg_1"]) if isinstance(a, dict) else a for a in _arguments(row)] for row in samples]
    return [[log_likelihood(files.loaded, *pair) for pair in pairs] for pairs in asked]


def _arguments(sample: dict[str, Any]) -> list[Any]:
    arguments = sample["arguments"]
    return list(arguments.values()) if isinstance(arguments, dict) else list(arguments)


def likelihoods(samples: list[dict[str, Any]]) -> list[list[float]]:
    return [[float(answer[0][0]) for answer in sample["resps"]] for sample in samples]


def test_their_command_line_runs_a_task_of_theirs_under_a_mask(
    steered_files: SteeredFolder, arc_easy: Path, tmp_path: Path
) -> None:
    arguments = f"pretrained={steered_files.model},mask={steered_files.mask}"
    command = [sys.executable, "-m", "mascing.harnesses.lm_eval", "run", "--model", "mascing"]
    command += ["--model_args", arguments, "--tasks", str(arc_easy), "--output_path", str(tmp_path), "--log_samples"]
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub")}
    done = subprocess.run(command, env=environment(offline), capture_output=True, text=True, check=False)
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


def environment(settings: dict[str, str]) -> dict[str, str]:
    import os

    return {**os.environ, **settings}


def test_without_a_mask_it_is_their_own_model(steered_files: SteeredFolder, arc_easy: Path, model: SteeredLM) -> None:
    plain = samples_of(evaluated(HFLM(pretrained=str(steered_files.model), device="cpu", batch_size=8), arc_easy))
    with model.steered.unsteered():
        ours = evaluated(model, arc_easy)
    assert likelihoods(samples_of(ours)) == likelihoods(plain)
    assert ours["config"]["mascing"]["mask_digest"] is None
    steered = samples_of(evaluated(model, arc_easy))
    moved = [a != pytest.approx(b, abs=0.1) for a, b in zip(likelihoods(steered), likelihoods(plain), strict=True)]
    assert all(moved)


def test_generated_text_is_that_of_the_steered_model(
    steered_files: SteeredFolder, gsm8k: Path, model: SteeredLM
) -> None:
    samples = samples_of(evaluated(model, gsm8k))
    with steer(steered_files.loaded.model, steered_files.loaded_mask):
        wanted = [greedy(steered_files.loaded, _arguments(sample)[0][0], 6, "\n") for sample in samples]
    assert [sample["resps"][0][0] for sample in samples] == wanted
    unsteered = [greedy(steered_files.loaded, _arguments(sample)[0][0], 6, "\n") for sample in samples]
    assert wanted != unsteered


def test_rolling_likelihoods_are_those_of_the_steered_model(steered_files: SteeredFolder, model: SteeredLM) -> None:
    texts = ["a red door", "the second text is longer than the first"]
    asked = [Instance("loglikelihood_rolling", {}, (text,), number) for number, text in enumerate(texts)]
    loaded = steered_files.loaded
    with steer(loaded.model, steered_files.loaded_mask):
        wanted = [
            float(token_log_likelihoods(loaded.model, ids(loaded, text, model.prefix_token_id)).sum()) for text in texts
        ]
    assert model.loglikelihood_rolling(asked, disable_tqdm=True) == pytest.approx(wanted, abs=1e-3)


def ids(loaded: Any, text: str, prefix: int) -> Any:
    import torch

    return torch.tensor([prefix, *loaded.tokenizer(text).input_ids])


def test_the_chat_template_is_applied(arc_easy: Path, model: SteeredLM) -> None:
    first = samples_of(evaluated(model, arc_easy, apply_chat_template=True, limit=1))[0]
    context, _ = _arguments(first)[0]
    assert context.startswith("<|im_start|>user\nQuestion: Which thing of room 0 is red?")
    assert context.endswith("<|im_start|>assistant\n")


def test_a_cache_of_answers_keeps_masks_apart(
    steered_files: SteeredFolder, arc_easy: Path, model: SteeredLM, tmp_path: Path
) -> None:
    cache = str(tmp_path / "answers")
    with model.steered.unsteered():
        unsteered = samples_of(evaluated(model, arc_easy, use_cache=cache))
    steered = samples_of(evaluated(model, arc_easy, use_cache=cache))
    assert likelihoods(steered) != likelihoods(unsteered)
    before = dict(model.steered.tokens)
    again = samples_of(evaluated(model, arc_easy, use_cache=cache))
    assert likelihoods(again) == likelihoods(steered)
    assert dict(model.steered.tokens) == before, "the model was asked again"
