"""Options of the chat template: they reach it, they are read by it, or they are refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from mascing.conversations.chat import render
from mascing.errors import ConfigError, ModelError
from mascing.models.chat_template import configured_template
from mascing.models.loading import load, load_tokenizer
from mascing.schemas.config import ModelConfig
from tests.layouts import LAYOUTS
from tests.mascing.olmoe_folder import CHATML, conversation, save, tokenizer

QUESTION = conversation("c", "Which loaf?")
NAMED = {"plain": CHATML, "retrieval": "Read. " + CHATML}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = save(tmp_path_factory.mktemp("models") / "tiny")
    (folder / "chat_template.jinja").write_text(LAYOUTS["qwen3_hybrid"])
    return folder


def rendered(tok: Any) -> str:
    return str(tok.decode(list(render(tok, QUESTION).token_ids)))


def configured(template: Any, **options: Any) -> Any:
    tok = tokenizer(template)
    tok.chat_template = configured_template(tok, options)
    return tok


@pytest.mark.parametrize("options", [{}, {"enable_thinking": True}, {"enable_thinking": False}])
def test_an_option_reaches_the_template(folder: Path, options: dict[str, Any]) -> None:
    config = ModelConfig(path=str(folder), chat_template=options)
    expected = tokenizer(LAYOUTS["qwen3_hybrid"]).apply_chat_template(
        [{"role": "user", "content": "Which loaf?"}], tokenize=False, add_generation_prompt=True, **options
    )
    assert rendered(load(config).tokenizer) == rendered(load_tokenizer(config)) == expected


@pytest.mark.parametrize(
    "value",
    [
        "low",
        "",
        'it\'s "so"\n{{ 1 }} %} \\n',
        "naïve 火",
        3,
        -2.5,
        1e-7,
        10**20,
        True,
        None,
        [1, ["a"]],
        {"a": {"b": None}},
    ],
)
@pytest.mark.parametrize("first", ["", "\n", "  ", "{#- a comment #}\n"])
def test_any_value_reaches_any_template_as_it_is(value: Any, first: str) -> None:
    template = first + "{{ effort | tojson }}{% macro m() %}{{ effort | tojson }}{% endmacro %}{{ m() }}" + CHATML
    turns = [{"role": "user", "content": "Which loaf?"}]
    as_usual = tokenizer(template).apply_chat_template(turns, tokenize=False, effort=value)
    assert configured(template, effort=value).apply_chat_template(turns, tokenize=False) == as_usual


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("enable_thinkin", r"template.enable_thinkin: .*did you mean 'enable_thinking'\? It reads enable_thinking$"),
        ("effort", "the chat template does not read it. It reads enable_thinking$"),
        ("content", "does not read it. It reads"),
        ("raise_exception", "does not read it"),
    ],
)
def test_an_option_that_the_template_does_not_read_is_refused(folder: Path, option: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_tokenizer(ModelConfig(path=str(folder), chat_template={option: False}))


def test_an_option_is_read_wherever_a_template_looks_for_it() -> None:
    template = (
        "{% set a = a | default(1) %}{% if b is not defined %}{% set b = 2 %}{% endif %}"
        "{% macro m() %}{{ c }}{% endmacro %}{{ a }}{{ b }}{{ m() }}"
        "{% for turn in messages %}{% generation %}{{ d }}{% endgeneration %}"
        "{% if not turn %}{% break %}{% endif %}{% endfor %}"
    )
    tok = configured(template, a=5, b=6, c=7, d=8)
    assert tok.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False) == "5678"


@pytest.mark.parametrize("name", ["messages", "tools", "tokenize", "add_generation_prompt", "chat_template"])
def test_what_mascing_sets_itself_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match=f"{name} cannot be set: mascing sets it itself"):
        ModelConfig(path="model", chat_template={name: True})


def test_one_of_several_templates_is_chosen_by_name() -> None:
    assert rendered(configured(NAMED, name="retrieval")).startswith("Read. <|im_start|>")
    assert rendered(configured({**NAMED, "default": CHATML})).startswith("<|im_start|>")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "several chat templates and no default: choose one of plain, retrieval, .*{name: plain}"),
        ({"name": "retrieva"}, "no chat template 'retrieva', only plain, retrieval"),
        ({"name": ["plain"]}, "no chat template"),
    ],
)
def test_a_template_that_is_not_there_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        configured(NAMED, **options)


def test_a_template_that_is_no_template_is_refused_where_it_is_given_options() -> None:
    with pytest.raises(ConfigError, match=r"the chat template of the model is not valid: .* \(line 1\)"):
        configured("{% if %}", enable_thinking=True)


def test_a_tokenizer_loads_without_weights(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    (copy / "model.safetensors").unlink()
    assert rendered(load_tokenizer(ModelConfig(path=str(copy)))) == rendered(
        load_tokenizer(ModelConfig(path=str(folder)))
    )
    (copy / "chat_template.jinja").unlink()
    with pytest.raises(ModelError, match="no chat template"):
        load_tokenizer(ModelConfig(path=str(copy)))
    (copy / "config.json").write_text(json.dumps({}))
    with pytest.raises(ModelError, match="no model_type"):
        load_tokenizer(ModelConfig(path=str(copy)))


def test_weights_in_storage_are_not_fetched_for_the_tokenizer(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fsspec

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    memory = fsspec.filesystem("memory")
    memory.put(str(folder), "/bucket/models/options", recursive=True)
    fetched: list[str] = []
    get_file = type(memory).get_file

    def get(self: Any, path: str, *rest: Any, **more: Any) -> Any:
        fetched.append(path)
        return get_file(self, path, *rest, **more)

    monkeypatch.setattr(type(memory), "get_file", get)
    try:
        load_tokenizer(ModelConfig(path="memory://bucket/models/options"))
    finally:
        memory.rm("/bucket", recursive=True)
    assert any(path.endswith("tokenizer.json") for path in fetched)
    assert not any(path.endswith(".safetensors") for path in fetched)
