"""Inspect evaluates a steered model by `--model mascing/PATH`, and its log holds what that model says."""

import asyncio
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from inspect_ai.log import EvalLog, read_eval_log
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    ContentImage,
    GenerateConfig,
    Model,
    ModelOutput,
    get_model,
)
from inspect_ai.tool import ToolInfo
from safetensors.torch import load_file, save_file

from mascing.engines.generation import generate
from mascing.errors import ConfigError, DataError, MaskError
from mascing.models.checkpoints import checkpoint_fingerprint
from mascing.schemas.config import GenerationConfig, ModelConfig
from mascing.schemas.conversation import Conversation, Message
from tests.mascing.harnesses.inspect_ai import made_up_task
from tests.mascing.harnesses.steered_folder import SteeredFolder, steered_folder


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> SteeredFolder:
    return steered_folder(tmp_path_factory.mktemp("steered"))


def opened(files: SteeredFolder, mask: str | None = None, **settings: Any) -> Model:
    return get_model(f"mascing/{files.model}", mask=mask or str(files.mask), memoize=False, **settings)


def reply(model: Model, messages: list[ChatMessage] | str, **settings: Any) -> ModelOutput:
    return asyncio.run(model.generate(messages, config=GenerateConfig(**settings)))


def by_hand(files: SteeredFolder, tokens: int, *texts: str, steered: bool = True) -> list[str]:
    system = Message(role="system", content="be brief")
    asked = [
        Conversation(id=text, group_id=text, messages=(system, Message(role="user", content=text))) for text in texts
    ]
    mask = files.loaded_mask if steered else None
    said = generate(files.loaded, asked, mask, GenerationConfig(max_new_tokens=tokens, batch_size=1))
    return [one.text for one in said]


def test_their_command_line_runs_a_task_under_a_mask(files: SteeredFolder, tmp_path: Path) -> None:
    inspect, task = Path(sys.executable).with_name("inspect"), Path(made_up_task.__file__)
    command = [str(inspect), "eval", task.name, "--model", f"mascing/{files.model}"]
    command += ["-M", f"mask={files.mask}", "--max-tokens", "12", "--display", "none", "--log-dir", str(tmp_path)]
    root = Path(__file__).parents[4]
    settings = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(root)}
    done = subprocess.run(command, cwd=task.parent, env=settings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = tmp_path.glob("*.eval")
    log: EvalLog = read_eval_log(str(path))
    assert log.status == "success"
    assert log.results
    assert log.samples
    questions = [f"what of bench {number}?" for number in range(made_up_task.QUESTIONS)]
    wanted = by_hand(files, 12, *questions)
    said = {int(sample.id): sample.output for sample in log.samples}
    assert [said[number].completion for number in range(made_up_task.QUESTIONS)] == wanted
    assert wanted != by_hand(files, 12, *questions, steered=False)
    assert {output.metadata["mascing"]["mask_digest"] for output in said.values() if output.metadata} == {
        files.loaded_mask.digest
    }
    letters = made_up_task.LETTERS
    hits = sum(letters[number % len(letters)] in text.lower() for number, text in enumerate(wanted))
    assert log.results.scores[0].metrics["accuracy"].value == pytest.approx(hits / made_up_task.QUESTIONS)


def test_many_at_once_are_answered_in_batches_as_one_by_one(files: SteeredFolder) -> None:
    model = opened(files, batch_size=4)
    texts = [f"what of bench {number}?" for number in range(9)]
    asked = [[ChatMessageSystem(content="be brief"), ChatMessageUser(content=text)] for text in texts]

    async def all_at_once() -> list[ModelOutput]:
        config = GenerateConfig(max_tokens=5)
        return await asyncio.gather(*(model.generate(list(one), config=config) for one in asked))

    outputs = asyncio.run(all_at_once())
    assert [output.completion for output in outputs] == by_hand(files, 5, *texts)
    assert {output.usage.output_tokens <= 5 for output in outputs if output.usage} == {True}


def test_a_reply_ends_at_the_token_limit_a_stop_text_or_a_full_context(files: SteeredFolder) -> None:
    model = opened(files, "none")
    whole = reply(model, "hello", max_tokens=12)
    assert whole.stop_reason == "max_tokens"
    mark = whole.completion[3:5]
    stopped = reply(model, "hello", max_tokens=12, stop_seqs=[mark])
    assert stopped.completion == whole.completion[: whole.completion.index(mark)]
    assert stopped.stop_reason == "stop"
    assert reply(model, "h" * 460, max_tokens=100).stop_reason == "model_length"
    assert reply(model, "h" * 600).completion == ""


def test_samples_of_one_question_differ_and_come_again(files: SteeredFolder) -> None:
    settings = {"max_tokens": 8, "temperature": 1.5, "seed": 3}
    first, second = (reply(model := opened(files), "hello", **settings), reply(model, "hello", **settings))
    assert first.completion != second.completion
    assert reply(opened(files), "hello", **settings).completion == first.completion


def test_the_url_that_their_cache_keys_by_holds_the_weights_and_the_mask(files: SteeredFolder, tmp_path: Path) -> None:
    model = checkpoint_fingerprint(ModelConfig(path=str(files.model)))
    urls = [opened(files, mask).api.base_url for mask in (None, "none")]
    assert urls == [f"mascing:{model}:torch.float32:{files.loaded_mask.digest}", f"mascing:{model}:torch.float32:none"]
    retrained = replace(files, model=Path(shutil.copytree(files.model, tmp_path / "model")))
    assert opened(retrained, "none").api.base_url == urls[1]
    weights = load_file(retrained.model / "model.safetensors")
    changed = {name: tensor * 1.5 for name, tensor in weights.items()}
    save_file(changed, retrained.model / "model.safetensors", {"format": "pt"})
    assert opened(retrained, "none").api.base_url != urls[1]


def test_what_it_cannot_do_is_refused(files: SteeredFolder) -> None:
    model = opened(files, "none")
    tool = ToolInfo(name="search", description="finds")
    with pytest.raises(ConfigError, match="mascing calls no tools, and the task offers search"):
        asyncio.run(model.generate("hello", tools=[tool]))
    with pytest.raises(ConfigError, match="mascing has no top_p, num_choices: it takes temperature"):
        reply(model, "hello", top_p=0.5, num_choices=2)
    image = ChatMessageUser(content=[ContentImage(image="data:image/png;base64,AA==")])
    with pytest.raises(DataError, match="mascing reads text alone, and a message holds image"):
        reply(model, [image])
    with pytest.raises(DataError, match="the last turn must be the user's"):
        reply(model, [ChatMessageUser(content="hello"), ChatMessageAssistant(content="hi")])
    with pytest.raises(MaskError, match="no mask was given"):
        get_model(f"mascing/{files.model}", memoize=False)
    with pytest.raises(ConfigError, match="leave out --model-base-url"):
        get_model(f"mascing/{files.model}", base_url="http://localhost", mask="none", memoize=False)
