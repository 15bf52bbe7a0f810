"""Plug-ins of a configuration: what is found, and what is refused before anything starts."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from mascing.circuits.methods import METHODS, searches_of
from mascing.config import load_config
from mascing.errors import ConfigError
from mascing.plugins import resolve
from mascing.schemas.settings.method_settings import SteerMoEConfig

JUDGE = "tests.recipes.my_package.judging:courtesy"
METHOD = "tests.recipes.my_package.searching:MEAN_SHIFT"


def loaded(folder: Path, target: Any = None, methods: Any = None) -> Any:
    exact = {"kind": "exact"}
    behaviour = {"name": "b", "conversations": "c.jsonl", "target": target or exact}
    file = folder / "run.yaml"
    file.write_text(
        yaml.safe_dump(
            {
                "model": {"path": "m"},
                "behaviour": behaviour | {"utility": exact, "protected": exact},
                "methods": methods or {},
            }
        )
    )
    return load_config(str(file))


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "falls_over.py").write_text("1 / 0\n")
    (tmp_path / "needs_more.py").write_text("import no_such_package_anywhere\n")
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("no_such_package.judging:judge", "there is no module no_such_package: install its package, or put its folder"),
        ("tests.recipes.no_such_module:judge", "there is no module tests.recipes.no_such_module: install"),
        ("falls_over:judge", "importing falls_over failed with ZeroDivisionError: division by zero"),
        ("needs_more:judge", "importing needs_more failed with ModuleNotFoundError: No module named 'no_such_package_"),
        ("tests.recipes.my_package.judging:courtsy", "has no courtsy: did you mean 'courtesy'?"),
        ("tests.recipes.my_package.judging:", "is not an import path: write it as my_package.my_module:my_object"),
        ("../judging:judge", "is not an import path"),
        ("tests.recipes.my_package.judging:CourtesyOptions.model_fields", "is no judge: it must be a function of one"),
        ("builtins:print", "is no judge: it must be a function of one parameter"),
        ("refusl", "nothing is registered as 'refusl': did you mean 'refusal'?"),
        (
            "vibes",
            "nothing is registered as 'vibes': known are choice, classifier, compliance, contains, exact, llama_guard, "
            "llm, panel, perplexity, refusal; give",
        ),
    ],
)
def test_a_judge_that_is_not_there_is_refused(tmp_path: Path, kind: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        loaded(tmp_path, target={"kind": kind})
    assert str(refused.value).startswith("behaviour.target.kind: ")
    assert message in str(refused.value)
    assert str(refused.value).endswith("(in " + str(tmp_path / "run.yaml") + ")")


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        ({"mascng": {"alphas": [1]}}, "methods.mascng: unknown key; did you mean 'mascing'?"),
        (
            {"mine": None},
            "methods.mine: unknown key; known are mascing, consensus, steermoe, gradient, refined, active",
        ),
        ({"mine": {"kind": JUDGE}}, "is not a method: it must be a mascing.circuits.method.Method"),
        ({"mine": {"kind": "vibes"}}, "methods.mine.kind: nothing is registered as 'vibes'"),
        ({"mine": {"kind": METHOD, "alphas": "1"}}, 'methods.mine.alphas: must be a list, got "1"'),
        ({"Mine": {"kind": METHOD}}, "methods: a method cannot be named 'Mine'"),
        ({"baseline": {"kind": METHOD}}, "methods: a method cannot be named 'baseline'"),
    ],
)
def test_a_method_that_is_not_there_is_refused(tmp_path: Path, methods: Any, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        loaded(tmp_path, methods=methods)
    assert message in str(refused.value)


PLUGINS = """
from pydantic import BaseModel, SecretStr

from mascing.circuits.method import Method, Proposal
from mascing.schemas.base import Frozen
from mascing.schemas.settings.method_settings import RandomConfig

class Secret(BaseModel):
    key: SecretStr = SecretStr("s")

class Lax(BaseModel):
    words: list[str] = []

class Spanned(Frozen):
    spans: str = "reply"

def not_async(options):
    return lambda conversation, reply: "hit"

def fails(options):
    raise LookupError("no such scale")

def secret(options: Secret):
    return not_async

def lax(options: Lax):
    return not_async

def listed(options: list):
    return not_async

def versioned(options):
    return not_async

versioned.version = "2"

ONE_ARGUMENT = Method("m", RandomConfig, lambda material: Proposal([]))
SPANNED = Method("m", Spanned, lambda material, config: Proposal([]))
NO_MODEL = Method("m", dict, lambda material, config: Proposal([]))
"""


@pytest.mark.parametrize(
    ("part", "name", "message"),
    [
        ("target", "not_async", "must return `async (conversation, reply) -> Verdict`, not <function"),
        ("target", "fails", "fails on these options with LookupError: no such scale"),
        ("target", "secret", "do not survive being stored: use plain values, read secrets from the environment"),
        ("target", "listed", "must be annotated with a pydantic model or dict, not <class 'list'>"),
        ("target", "versioned", "must be a whole number, not '2'"),
        ("methods", "SPANNED", "spans: must be a list of question, question+prompt, reply"),
        ("methods", "ONE_ARGUMENT", "must take the material and the method's config: too many positional arguments"),
        ("methods", "NO_MODEL", "must be a pydantic model, not <class 'dict'>"),
    ],
)
def test_a_plug_in_that_could_only_fail_later_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str, name: str, message: str
) -> None:
    (tmp_path / "unusable_parts.py").write_text(PLUGINS)
    monkeypatch.syspath_prepend(str(tmp_path))
    named = {"kind": f"unusable_parts:{name}"}
    with pytest.raises(ConfigError) as refused:
        loaded(tmp_path, **{part: {"mine": named} if part == "methods" else named})
    assert message in str(refused.value)


def test_an_option_that_a_lax_model_would_ignore_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "unusable_parts.py").write_text(PLUGINS)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match=r"behaviour\.target\.wrods: unknown key; did you mean 'words'"):
        loaded(tmp_path, {"kind": "unusable_parts:lax", "wrods": ["a"]})


def test_a_built_in_method_can_run_once_more_under_another_name(tmp_path: Path) -> None:
    config = loaded(tmp_path, methods={"on-alone": {"kind": "steermoe", "n_deactivated": [0]}})
    search = searches_of(config.methods)["on-alone"]
    assert search.method is METHODS["steermoe"]
    assert search.config == SteerMoEConfig(n_deactivated=(0,))


def test_all_that_is_wrong_with_plug_ins_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"behaviour\.target\.at_least: .*; methods\.mine\.alphs: unknown key"):
        loaded(tmp_path, {"kind": JUDGE, "at_least": "1"}, {"mine": {"kind": METHOD, "alphs": [1]}})


def test_a_package_declares_names_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    declared = tmp_path / "courtesies-1.0.dist-info"
    declared.mkdir()
    (declared / "METADATA").write_text("Metadata-Version: 2.1\nName: courtesies\nVersion: 1.0\n")
    (declared / "entry_points.txt").write_text(
        f"[mascing.judges]\ncourteous = {JUDGE}\n[mascing.methods]\nmean_shift = {METHOD}\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    config = loaded(tmp_path, {"kind": "courteous"}, {"mine": {"kind": "mean_shift", "alphas": [2]}})
    assert config.behaviour.target.options == {"words": ["please", "thank you"], "at_least": 1}
    assert config.methods.plugged["mine"].options == {"spans": ["question"], "alphas": [2.0]}
    assert resolve("courteous", "mascing.judges") is resolve(JUDGE, "mascing.judges")
