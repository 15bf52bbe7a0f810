import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from mascing.commands.verdicts.asked_judge import judge_config
from mascing.config import load_config
from mascing.errors import ConfigError
from mascing.judges.rubrics.rubric import rubric_of
from mascing.schemas.config import RunConfig
from mascing.storage.fingerprint import fingerprint
from mascing.strict_yaml import parse_yaml

MINIMAL: dict[str, Any] = {
    "model": {"path": "models/small"},
    "behaviour": {
        "name": "content-policy",
        "conversations": "conversations.jsonl",
        "target": {"kind": "refusal", "phrases": ["i can not"]},
        "utility": {"kind": "exact"},
        "protected": {"kind": "exact"},
    },
}


def test_the_defaults_fill_a_minimal_file(tmp_path: Path) -> None:
    behaviour = MINIMAL["behaviour"] | {"conversations": str(tmp_path / "conversations.jsonl")}
    assert load_config(written(tmp_path, MINIMAL)) == RunConfig.model_validate(MINIMAL | {"behaviour": behaviour})


def test_every_value_survives_the_way_through_yaml(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, MINIMAL))
    (tmp_path / "elsewhere").mkdir()
    again = load_config(written(tmp_path / "elsewhere", config.model_dump(mode="json")))
    assert again == config
    assert fingerprint(again) == fingerprint(config)  # 0 and 0.0 are equal, and are not one setting to a fingerprint


def test_paths_are_relative_to_the_file_however_they_are_spelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs" / "models" / "small").mkdir(parents=True)
    found = []
    for model, rows, here in (
        ("models/small", "c.jsonl", tmp_path),
        ("./models/small/", "./c.jsonl", tmp_path / "runs"),
        ("../runs/models/small", str(tmp_path / "runs" / "c.jsonl"), tmp_path / "runs" / "models"),
    ):
        monkeypatch.chdir(here)
        value = MINIMAL | {"model": {"path": model}, "behaviour": MINIMAL["behaviour"] | {"conversations": rows}}
        found.append(load_config(written(tmp_path / "runs", value)))
    assert found[0] == found[1] == found[2]
    assert found[0].model.path == str(tmp_path / "runs" / "models" / "small")


@pytest.mark.parametrize("path", ["s3://bucket/model", "~/model", "/abs/model", "org/model", "model"])
def test_a_url_a_home_folder_and_a_hub_id_stay_as_they_are(path: str, tmp_path: Path) -> None:
    assert load_config(written(tmp_path, MINIMAL | {"model": {"path": path}})).model.path == path


def test_a_path_from_the_working_directory_is_told_as_it_must_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "conversations.jsonl").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"paths are relative to .*run.yaml, so write \.\./conversations\.jsonl"):
        load_config(written(tmp_path / "runs", MINIMAL))


def test_numbers_in_scientific_notation_are_numbers(tmp_path: Path) -> None:
    """YAML 1.1 reads 1e-5 as text."""
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(MINIMAL) + "methods: {mascing: {lambdas: [0, 1e-5, 1E-4, 1.5e-3], alphas: [1e0]}}\n")
    methods = load_config(str(file)).methods
    assert methods.mascing is not None
    assert methods.mascing.lambdas == (0, 1e-5, 1e-4, 1.5e-3)


def test_null_leaves_a_method_out(tmp_path: Path) -> None:
    assert load_config(written(tmp_path, MINIMAL | {"methods": {"steermoe": None}})).methods.steermoe is None


def test_a_byte_order_mark_is_no_content(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + yaml.safe_dump(MINIMAL).encode())
    assert load_config(str(file)).seed == 0


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        # unknown keys
        ("sede", 1, "sede: unknown key; did you mean 'seed'?"),
        ("methods.mascing.alpas", [1], "methods.mascing.alpas: unknown key; did you mean 'alphas'?"),
        ("behaviour.target.phrase", ["no"], "behaviour.target.phrase: unknown key; did you mean 'phrases'?"),
        ("quux", 1, "quux: unknown key; known are model, behaviour, seed"),
        ("methods.random.seed", 1, "methods.random.seed: unknown key; known are none"),
        # wrong types
        ("seed", "three", 'seed: must be a whole number, got "three"'),
        ("seed", "3", 'seed: must be a whole number, got "3"'),
        ("seed", 1.5, "seed: must be a whole number, got 1.5"),
        ("seed", True, "seed: must be a whole number, got true"),
        ("seed", None, "seed: must be a whole number, got null"),
        ("model", "small", 'model: must be a mapping, got "small"'),
        ("model.path", 3, "model.path: must be text (put it in quotes), got 3"),
        ("model.trust_remote_code", "maybe", 'model.trust_remote_code: must be true or false, got "maybe"'),
        ("harvest", [1], "harvest: must be a mapping, got [1]"),
        ("behaviour.target.phrases", "no", 'behaviour.target.phrases: must be a list, got "no"'),
        ("methods.random", None, "methods.random: must be a mapping, got null"),
        ("behaviour.target", {}, "must be a mapping with a `kind`: refusal, compliance, choice, contains, exact, "),
        ("behaviour.target", "refusal", "behaviour.target: must be a mapping with a `kind`"),
        ("behaviour.utility.words", [], "behaviour.utility.words: unknown key; known are calibration, kind"),
        ("methods.mascng", {"alphas": [1]}, "methods.mascng: unknown key; did you mean 'mascing'?"),
        # values out of range
        ("seed", -1, "seed: must be greater than or equal to 0, got -1"),
        ("methods.mascing.alphas", [-1], "methods.mascing.alphas.0: must be greater than 0, got -1"),
        ("methods.mascing.alphas", [], "methods.mascing.alphas: must not be empty, got []"),
        ("methods.mascing.alphas", [1, 2, 1], "methods.mascing.alphas: 1.0 stands there twice: write each value once"),
        ("methods.refined.search_seeds", 10**9, "search_seeds: must be less than or equal to 100, got 1000000000"),
        ("surrogate.members", 10**9, "surrogate.members: must be less than or equal to 100, got 1000000000"),
        (
            "methods.mascing.spans",
            ["answer"],
            "methods.mascing.spans.0: must be one of 'question', 'question+prompt' or",
        ),
        ("methods.steermoe.n_activated", [1, 1.5], "methods.steermoe.n_activated.1: must be a whole number, got 1.5"),
        ("methods.gradient.learning_rate", float("inf"), "learning_rate: must be a finite number, got Infinity"),
        ("gates.min_uplift", 2, "gates.min_uplift: must be less than or equal to 1, got 2"),
        ("gates.min_uplift", float("nan"), "gates.min_uplift: must be a finite number, got NaN"),
        ("model.path", "", 'model.path: must not be empty, got ""'),
        ("model.dtype", "float8", "model.dtype: must be one of 'auto', 'float32', 'bfloat16' or 'float16', got"),
        ("behaviour.name", "Bad Name", "behaviour.name: must match ^[a-z0-9][a-z0-9-]*$, got"),
        ("behaviour.max_characters", 0, "behaviour.max_characters: must be greater than 0, got 0"),
        # contradictions
        ("splits", {"train": 0.9, "dev": 0.2, "test": 0.3}, "splits: train + dev + test must be 1, not 1.4"),
        ("splits", {"train": 1.0, "dev": 0.0, "test": 0.0}, "splits.train: must be less than 1, got 1.0"),
        (
            "methods",
            dict.fromkeys(("mascing", "consensus", "steermoe", "gradient", "refined", "active")),
            "methods: at least one of mascing, consensus, steermoe",
        ),
        ("compute.num_gpus", 1, "model.device is cpu but compute.num_gpus reserves GPUs"),
        ("model.device", "cuda", "model.device is cuda but compute.num_gpus is 0"),
        ("", {"model.device": "cuda", "compute.num_gpus": 2}, "uses one GPU of them: set device to auto"),
        ("", {"model.device": "auto", "compute.num_gpus": 0.5}, "a share of one GPU, and model.device auto would take"),
        ("", {"model.device": "auto", "compute.num_gpus": 1.5}, "give a worker whole GPUs, or a share of one"),
        ("behaviour.utility.kind", "exakt", "did you mean 'exact'?"),
        ("behaviour.utility.phrases", ["a"], "behaviour.utility: an exact judge compares with `wanted`"),
    ],
)
def test_a_wrong_field_is_named_with_what_would_be_right(tmp_path: Path, field: str, value: Any, message: str) -> None:
    config = copy.deepcopy(MINIMAL)
    for name, changed in (value if field == "" else {field: value}).items():
        *parents, last = name.split(".")
        inner = config
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[last] = changed
    file = written(tmp_path, config)
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    assert message in str(caught.value)
    assert str(caught.value).endswith(f"(in {file})")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("field", ["model", "behaviour"])
def test_a_missing_part_is_named(tmp_path: Path, field: str) -> None:
    with pytest.raises(ConfigError, match=f"^{field}: is required"):
        load_config(written(tmp_path, {key: value for key, value in MINIMAL.items() if key != field}))


def test_several_mistakes_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"seed: .*; splits: .*; sede: .* \(in "):
        load_config(written(tmp_path, MINIMAL | {"seed": -1, "splits": {"train": 0.9}, "sede": 1}))


BOMB = b"".join(b"k%d: &k%d [%s]\n" % (n, n, b",".join([b"*k%d" % (n - 1) if n else b"x"] * 9)) for n in range(9))
"""500 bytes that stand for 9^9 words."""


def test_a_key_is_the_text_that_stands_there() -> None:
    given = parse_yaml("models: {yes: &part {no: 1, 010: no}, on: {<<: *part, ~: 2}}", "a text")
    assert given == {"models": {"yes": {"no": 1, "010": False}, "on": {"no": 1, "010": False, "~": 2}}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty: a run needs at least `model` and `behaviour`"),
        (b"# a comment\n", "is empty"),
        (b"- model\n", "must hold a mapping with the keys model, behaviour, …, not list"),
        (b"hello", "must hold a mapping with the keys model, behaviour, …, not str"),
        (b"seed: [1", "is not valid YAML: line 1, column 9"),
        (b"seed:\n\t- 1", "is not valid YAML: line 2, column 1: found character"),
        (b"seed: 1\nseed: 2\n", "is not valid YAML: line 2, column 1: the key 'seed' is given more than once"),
        (b"seed: 1\n---\nseed: 2\n", "found another document"),
        (b"seed: !!python/object/apply:os.system [echo]", "could not determine a constructor"),
        (b"? [1, 2]\n: 3", "found unhashable key"),
        (b"seed: " + b"9" * 5000, "is not valid YAML"),
        (b"seed: 2024-13-01", "is not valid YAML: month must be in 1..12"),
        (b"[" * 500, "is not valid YAML"),
        (b"seed: &a [*a]", "holds a value that is not plain YAML"),
        (b"\xff\xfe\x00", "is not UTF-8 text"),
        (b"\0", "is not valid YAML"),
        (BOMB, "is not valid YAML: line 1, column 1: its aliases (`*name`) stand for more than 0.5 MB: use fewer"),
        (b"# " + b"a" * 30_000_000, "is larger than 0.5 MB, which no configuration needs"),
    ],
    ids=lambda value: None if len(value) > 100 else value,
)
def test_what_is_no_yaml_mapping_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "run.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_config(str(file))
    assert str(caught.value).startswith(str(file))
    assert message in str(caught.value)


def test_the_yaml_of_a_judge_is_as_bounded(tmp_path: Path) -> None:
    (tmp_path / "bomb.yaml").write_bytes(BOMB)
    for read in (rubric_of, lambda path: judge_config("refusal", path)):
        with pytest.raises(ConfigError, match="stand for more than"):
            read(str(tmp_path / "bomb.yaml"))


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("absent.yaml", "there is no such file"),
        (".", "is a folder"),
        ("run.yaml/inside", "cannot be read"),
        ("a\0b", "cannot be read"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path: Path, path: str, message: str) -> None:
    written(tmp_path, MINIMAL)
    with pytest.raises(ConfigError, match=message):
        load_config(str(tmp_path / path))


def written(folder: Path, config: Any) -> str:
    file = folder / "run.yaml"
    file.write_text(yaml.safe_dump(config))
    return str(file)
