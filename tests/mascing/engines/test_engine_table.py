"""The table of engines, their settings, and what is refused."""

import json
import re
import traceback
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from mascing.config import load_config
from mascing.engines import installed
from mascing.engines.table import ENGINES, Place, engine_identity, make_engine
from mascing.errors import ConfigError
from mascing.preflight.checks import preflight
from mascing.schemas.config import RunConfig
from mascing.schemas.settings.engine_settings import EngineConfig, OpenAIEngine, TransformersEngine, VllmEngine
from mascing.validation import complaints
from tests.mascing import olmoe_folder

PASTED = "sk-proj-0123456789abcdefghijklmnopqrstuv"


def test_every_kind_of_the_union_is_in_the_table() -> None:
    made: list[Any] = [
        TypeAdapter[Any](EngineConfig).validate_python({"kind": kind, **({"model": "m"} if kind == "openai" else {})})
        for kind in ENGINES
    ]
    assert [type(config) for config in made] == [kind.config for kind in ENGINES.values()]
    assert [kind for kind in ENGINES if ENGINES[kind].steers] == ["transformers", "vllm"]


def test_the_identity_is_what_determines_replies() -> None:
    plain = OpenAIEngine(base_url="http://host/v1/", model="m")
    other = plain.model_copy(update={"timeout": 3.0, "api_key_env": "MY_KEY", "attempts": 2})
    assert engine_identity(plain) == engine_identity(other)
    assert engine_identity(plain) == {"kind": "openai", "version": 1, "base_url": "http://host/v1", "model": "m"}
    assert engine_identity(plain) != engine_identity(plain.model_copy(update={"model": "n"}))


def test_every_setting_of_an_endpoint_is_on_its_page() -> None:
    page = (Path(__file__).parents[3] / "docs" / "engines.md").read_text(encoding="utf-8")
    assert [name for name in OpenAIEngine.model_fields if name != "kind" and f"| `{name}` |" not in page] == []


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"api_key_env": PASTED}, "name of an environment variable"),
        ({"api_key_env": "sk_live_0123456789abcdef"}, "name of an environment variable"),
        ({"api_key_env": "0123456789abcdef0123456789abcdef"}, "name of an environment variable"),
        ({"base_url": f"http://user:{PASTED}@host/v1"}, "without a user name"),
        ({"base_url": f"http://host/v1?key={PASTED}"}, "without a user name"),
        ({"base_url": "host:8000/v1"}, "must be an address"),
        ({"base_url": "http://host/v1/chat/completions"}, "leave out /chat/completions"),
        ({"budget": {"dollars": 1}}, "needs `prices`"),
        ({"budget": {}}, "tokens"),
    ],
)  # fmt: skip
def test_wrong_settings_are_refused_and_a_pasted_key_is_not_shown(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        OpenAIEngine.model_validate({"model": "m", **settings})
    [complaint] = complaints(caught.value, OpenAIEngine)
    assert said in complaint
    assert PASTED not in complaint + str(caught.value)
    assert "sk_live" not in complaint + str(caught.value)


def test_a_key_pasted_into_a_run_is_in_no_error(tmp_path: Path) -> None:
    judge = {"kind": "llm", "rubric": "harmful", "endpoint": {"model": "m", "api_key_env": PASTED}}
    sets = dict.fromkeys(("target", "utility", "protected"), judge)
    behaviour = {"name": "b", "conversations": "c.jsonl", **sets}
    path = tmp_path / "run.yaml"
    path.write_text(json.dumps({"model": {"path": "m"}, "behaviour": behaviour}), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"api_key_env: must be the name") as caught:
        load_config(str(path))
    assert PASTED not in "".join(traceback.format_exception(caught.value))


def test_an_engine_that_cannot_work_here_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="none is loaded here"):
        make_engine(TransformersEngine(), Place())
    monkeypatch.setattr(installed, "vllm_version", lambda: None)
    with pytest.raises(ConfigError, match="vllm is not installed"):
        make_engine(VllmEngine(), Place())
    monkeypatch.setattr(installed, "vllm_version", lambda: "0.32.0")
    monkeypatch.setattr(metadata, "entry_points", lambda **_: ())
    with pytest.raises(ConfigError, match=r"no plugin would steer its models.*kind: transformers"):
        make_engine(VllmEngine(), Place())
    monkeypatch.undo()


def run_on(engine: dict[str, Any], **compute: Any) -> RunConfig:
    sets: dict[str, Any] = {name: {"kind": "refusal"} for name in ("target", "utility", "protected")}
    behaviour = {"name": "b", "conversations": "c.jsonl", **sets}
    return RunConfig.model_validate(
        {"model": {"path": "m", "device": "auto"}, "behaviour": behaviour, "engine": engine, "compute": compute}
    )


@pytest.mark.parametrize(
    ("engine", "gpus", "said"),
    [
        ({"kind": "openai", "model": "m"}, 0, r"engine: an endpoint cannot reply in a run.*`transformers` or `vllm`"),
        ({"kind": "vllm", "max_num_seqs": 0}, 0, "engine.max_num_seqs: must be greater than 0"),
        ({"kind": "vllm", "slot": 3}, 0, "engine.slot: unknown key; known are kind, max_model_len"),
        ({"kind": "vllm"}, 2, "uses one GPU of a worker: set num_gpus to 1"),
    ],
)
def test_an_engine_that_a_run_cannot_have_is_refused(engine: dict[str, Any], gpus: int, said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        run_on(engine, num_gpus=gpus)
    [complaint] = complaints(caught.value, RunConfig)
    assert re.search(said, complaint)


def test_a_run_without_vllm_is_told_before_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "vllm_version", lambda: None)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    found = preflight(run_on({"kind": "vllm"}))
    assert any("vllm is not installed" in problem for problem in found.problems)
    assert not any("vllm" in problem for problem in preflight(run_on({"kind": "transformers"})).problems)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")  # its workers may have it
    assert not any("vllm" in problem for problem in preflight(run_on({"kind": "vllm"})).problems)


def test_a_model_that_the_engine_cannot_load_is_told_before_it_starts(tmp_path: Path) -> None:
    folder = olmoe_folder.save(tmp_path / "model")

    def problems(engine: dict[str, Any], num_gpus: float) -> str:
        run = run_on(engine, num_gpus=num_gpus)
        with_model = run.model_copy(update={"model": run.model.model_copy(update={"path": str(folder)})})
        return "; ".join(preflight(with_model).problems)

    said = "the engine `vllm` cannot load the model: its attention heads have size 16, and on a CPU"
    assert said in (told := problems({"kind": "vllm"}, 0))
    assert "alone: take `engine: {kind: transformers}`" in told
    assert said not in problems({"kind": "vllm"}, 1)
    assert said not in problems({"kind": "transformers"}, 0)
