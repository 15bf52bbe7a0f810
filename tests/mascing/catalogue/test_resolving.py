"""What a run.yaml says of an entry becomes an ordinary behaviour, or an error that says what to write."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from mascing.config import load_config
from mascing.errors import ConfigError
from mascing.schemas.catalogue.sources import DatasetConfig, SourceConfig
from mascing.schemas.config import RunConfig

HERE = Path(__file__).parent


def loaded(folder: Path, behaviour: dict[str, Any], **settings: Any) -> RunConfig:
    run = {"model": {"path": "org/model"}, "behaviour": behaviour, **settings}
    (folder / "run.yaml").write_text(yaml.safe_dump(run), encoding="utf-8")
    return load_config(str(folder / "run.yaml"))


def sources(run: RunConfig) -> tuple[SourceConfig, ...]:
    assert not isinstance(run.behaviour.conversations, str)
    return run.behaviour.conversations


def test_a_target_brings_the_sets_the_judges_and_the_gates_that_go_with_it(tmp_path: Path) -> None:
    run = loaded(tmp_path, {"catalogue": "mhj"})
    behaviour = run.behaviour
    assert behaviour.name == "mhj"
    assert [source.name for source in sources(run)] == [
        "mhj", "mmlu", "gsm8k", "xstest", "harmbench",
    ]  # fmt: skip
    kinds = {"target": "refusal", "utility/mmlu": "choice", "utility/gsm8k": "contains", "utility/xstest": "compliance",
             "protected/harmbench": "refusal"}  # fmt: skip
    assert {name: behaviour.judge_of(name).kind for name in kinds} == kinds
    assert (run.gates.min_uplift, run.gates.max_utility_loss, run.gates.min_baseline) == (0.1, 0.1, 0.5)


def test_what_the_run_says_itself_goes_before_the_entry(tmp_path: Path) -> None:
    behaviour = {"catalogue": "harmbench", "name": "mine", "file": "copy.csv", "rows": 7, "max_characters": 500,
                 "utility": {"kind": "exact"}, "beside": ["mmlu", {"catalogue": "xstest", "rows": 9}]}  # fmt: skip
    (tmp_path / "copy.csv").touch()
    run = loaded(tmp_path, behaviour, gates={"max_utility_loss": 0.3})
    first, _, third = sources(run)
    assert (run.behaviour.name, run.behaviour.max_characters) == ("mine", 500)
    assert (first.file, first.dataset, first.rows, third.rows) == (str(tmp_path / "copy.csv"), None, 7, 9)
    assert {run.behaviour.judge_of(name).kind for name in ("utility/mmlu", "utility/xstest")} == {"exact"}
    assert run.gates.max_utility_loss == 0.3
    assert run.gates.min_uplift == 0.1


def test_an_entry_of_ones_own_is_read_beside_its_yaml(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    own = "name: {0}\nfile: rows.jsonl\nroles: [{1}]\njudge: {{kind: refusal}}\nbeside: [{2}]\n"
    (tmp_path / "own" / "mine.yaml").write_text(own.format("mine", "target", "./other.yaml"))
    (tmp_path / "own" / "other.yaml").write_text(own.format("other", "protected", ""))
    (tmp_path / "own" / "rows.jsonl").touch()
    found = sources(loaded(tmp_path, {"catalogue": "own/mine.yaml"}))
    assert [source.set for source in found] == ["target", "protected/other"]
    assert {source.file for source in found} == {str(tmp_path / "own" / "rows.jsonl")}


def test_the_strictest_limit_of_all_entries_counts(tmp_path: Path) -> None:
    for name, limits in (("one", "{min_uplift: 0.3, max_utility_loss: 0.1}"), ("two", "{max_utility_loss: 0.05}")):
        roles = "[target]" if name == "one" else "[utility]"
        text = f"name: {name}\nfile: r.jsonl\nroles: {roles}\njudge: {{kind: exact}}\ngates: {limits}\n"
        (tmp_path / f"{name}.yaml").write_text(text)
    (tmp_path / "r.jsonl").touch()
    run = loaded(tmp_path, {"catalogue": "./one.yaml", "beside": ["./two.yaml"]})
    assert (run.gates.min_uplift, run.gates.max_utility_loss) == (0.3, 0.05)


def test_an_operators_policy_starts_only_with_opt_in_and_a_protected_set_of_their_own(tmp_path: Path) -> None:
    own = str(HERE / "own_protected.yaml")
    policy = {"catalogue": "erotica-analysis"}
    with pytest.raises(ConfigError, match=r"behaviour\.opt_in: .*Write `opt_in: true`"):
        loaded(tmp_path, policy | {"beside": [own]})
    for beside in (None, ["mmlu"], ["strongreject", "maliciousinstruct"], [{"catalogue": "advbench"}, "tdc2023"]):
        with pytest.raises(ConfigError, match=r"behaviour\.beside: erotica-analysis needs a protected set of your own"):
            loaded(tmp_path, policy | {"opt_in": True} | ({"beside": beside} if beside else {}))
    run = loaded(tmp_path, policy | {"opt_in": True, "beside": ["mmlu", own]})
    sets = [source.set for source in sources(run)]
    assert sets == ["target", "protected/strongreject", "protected/maliciousinstruct", "utility/mmlu",
                    "protected/house-rules"]  # fmt: skip
    assert run.gates.protected_tolerance == 0.05


@pytest.mark.parametrize(
    ("beside", "settings", "gates", "complaint"),
    [
        ("./guard.yaml", {}, {}, "beside: erotica-analysis is guarded by strongreject as it is shipped"),
        ({"catalogue": "strongreject", "file": "mine.jsonl"}, {}, {}, "beside: .* guarded by strongreject"),
        ({"catalogue": "maliciousinstruct", "rows": 1}, {}, {}, "beside: .* guarded by maliciousinstruct"),
        ("mmlu", {"protected": {"kind": "compliance"}}, {}, "behaviour.protected: .* keep their judges"),
        ("mmlu", {"judges": {"protected/strongreject": {"kind": "exact"}}}, {}, "judges.protected/strongreject: "),
        ("mmlu", {"max_characters": 200}, {}, "max_characters: 200 would set aside conversations of strongreject"),
        ("mmlu", {}, {"protected_tolerance": 1.0}, "gates.protected_tolerance: 1 is looser than 0.05"),
        ("mmlu", {}, {"min_uplift": 0}, "gates.min_uplift: 0 is looser than 0.1"),
    ],
)
def test_the_guards_and_limits_of_an_operators_policy_stay(
    tmp_path: Path, beside: Any, settings: dict[str, Any], gates: dict[str, float], complaint: str
) -> None:
    (tmp_path / "guard.yaml").write_text(
        "name: strongreject\nfile: r.jsonl\nroles: [protected]\njudge: {kind: exact}\n"
    )
    policy = {"catalogue": "erotica-analysis", "opt_in": True, "beside": [str(HERE / "own_protected.yaml"), beside]}
    with pytest.raises(ConfigError, match=complaint):
        loaded(tmp_path, policy | settings, gates=gates)


def test_an_operator_may_tighten_the_limits_and_judge_their_own_set(tmp_path: Path) -> None:
    policy = {
        "catalogue": "erotica-analysis",
        "opt_in": True,
        "beside": ["strongreject", str(HERE / "own_protected.yaml")],
    }
    judges = {"protected/house-rules": {"kind": "compliance"}}
    run = loaded(tmp_path, policy | {"judges": judges}, gates={"protected_tolerance": 0.02, "min_uplift": 0.2})
    assert (run.gates.protected_tolerance, run.gates.min_uplift) == (0.02, 0.2)
    kinds = {name: run.behaviour.judge_of(f"protected/{name}").kind for name in ("strongreject", "house-rules")}
    assert kinds == {"strongreject": "refusal", "house-rules": "compliance"}


@pytest.mark.parametrize(
    ("behaviour", "complaint"),
    [
        ({"catalogue": "harmbnch"}, "behaviour.catalogue.*did you mean 'harmbench'"),
        ({"catalogue": "mmlu"}, "mmlu can be utility only: name it under `beside`"),
        ({"catalogue": "harmbench", "beside": ["mhj"]}, "mhj can only be the target"),
        ({"catalogue": "harmbench", "beside": ["harmbench"]}, "harmbench is the target already"),
        ({"catalogue": "mhj-replayed"}, "mhj-replayed is not loaded by name: give your copy of it by `file`"),
        ({"catalogue": "harmbench", "revision": "abc"}, "revision: harmbench is read from https"),
        ({"catalogue": "harmbench", "conversations": "a.jsonl"}, "give a local copy by `file`"),
        ({"catalogue": "harmbench", "rows": 0}, "behaviour.rows: must be greater than 0"),
        ({"catalogue": "harmbench", "besides": ["mmlu"]}, "behaviour.besides: unknown key"),
        ({"catalogue": "./none.yaml"}, "none.yaml: there is no such file: give the path of an entry"),
        ({"catalogue": "harmbench", "beside": ["./none.yaml"]}, "no such file: give the path of an entry"),
    ],
)
def test_a_mistake_says_what_to_write(tmp_path: Path, behaviour: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        loaded(tmp_path, behaviour)


def test_several_sources_can_be_written_without_the_catalogue(tmp_path: Path) -> None:
    judge = {"kind": "refusal"}
    judges = {"name": "mine", "target": judge, "utility": judge, "protected": judge}
    (tmp_path / "a.jsonl").touch()
    two = [{"name": "a", "file": "a.jsonl"}, {"name": "b", "dataset": {"path": "org/b"}, "set": "utility/b"}]
    first, second = sources(loaded(tmp_path, judges | {"conversations": two}))
    assert (first.file, second.dataset) == (str(tmp_path / "a.jsonl"), DatasetConfig(path="org/b"))
    with pytest.raises(ConfigError, match="two sources are named a"):
        loaded(tmp_path, judges | {"conversations": [two[0], two[0]]})
    with pytest.raises(ConfigError, match="a: give either a `file` or a `dataset`"):
        loaded(tmp_path, judges | {"conversations": [{"name": "a"}]})
    with pytest.raises(ConfigError, match="each has columns of its own"):
        loaded(tmp_path, judges | {"conversations": two, "columns": "prompts"})
