"""Data sets are loaded by `datasets`, row by row, and what cannot be had is told with what to do."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mascing.catalogue.hub import rows_of
from mascing.catalogue.inputs import content_of, inputs_of
from mascing.conversations.intake.reader import Reading, read_all
from mascing.errors import ConfigError, DataError
from mascing.schemas.catalogue.sources import DatasetConfig
from mascing.schemas.config import BehaviourConfig
from tests.mascing.catalogue.published_rows import PUBLISHED, Published

datasets = pytest.importorskip("datasets")

FORMATS = {".csv": "csv", ".jsonl": "json", ".json": "json", ".parquet": "parquet"}
ONE_OF_EACH = [published for published in PUBLISHED if published.entry in ("xstest", "mquake", "mmlu", "cf-triviaqa")]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def behaviour_of(dataset: dict[str, Any], **source: Any) -> BehaviourConfig:
    judge = {"kind": "refusal"}
    return BehaviourConfig.model_validate(
        {"name": "b", "conversations": [{"name": "s", "dataset": dataset, **source}], "target": judge,
         "utility": judge, "protected": judge}
    )  # fmt: skip


@pytest.mark.parametrize("published", ONE_OF_EACH, ids=lambda published: published.entry)
def test_a_loaded_data_set_has_the_rows_of_its_file(published: Published, tmp_path: Path) -> None:
    path = published.written(tmp_path)
    files = rows_of(DatasetConfig(path=FORMATS[path.suffix], files=(str(path),)))
    [opener] = files.values()
    rows = [json.loads(line) for line in io.TextIOWrapper(opener(), "utf-8")]
    texts = [{key: value for key, value in row.items() if isinstance(value, str)} for row in rows]
    assert texts == [{key: row[key] for key in found} for row, found in zip(published.rows, texts, strict=True)]
    assert all(row.keys() == given.keys() for row, given in zip(rows, published.rows, strict=True))


def test_the_rows_decide_the_identity_and_not_the_place_or_the_name(tmp_path: Path) -> None:
    def content(folder: str, *prompts: str) -> str:
        (tmp_path / folder).mkdir()
        file = tmp_path / folder / "rows.jsonl"
        file.write_text("".join(f'{{"prompt": "{prompt}"}}\n' for prompt in prompts))
        return content_of(inputs_of(behaviour_of({"path": "json", "files": [str(file)]})))

    assert content("a", "one", "two") == content("b", "one", "two")
    assert content("c", "one", "three") != content("d", "one", "two")


def test_at_most_so_many_rows_are_the_same_ones_in_any_order(tmp_path: Path) -> None:
    def read(name: str, numbers: range | list[int]) -> set[str]:
        file = tmp_path / name
        file.write_text("".join(f'{{"prompt": "p{number}", "kind": "{number % 2}"}}\n' for number in numbers))
        behaviour = behaviour_of({"path": "json", "files": [str(file)]}, rows=5, where={"kind": ["1"]})
        rows = read_all(Reading(inputs_of(behaviour), 1000)).conversations
        assert {row.metadata["kind"] for row in rows} == {"1"}
        return {row.messages[0].content for row in rows}

    forth, back = read("forth.jsonl", range(40)), read("back.jsonl", list(reversed(range(40))))
    assert len(forth) == 5
    assert forth == back != {f"p{number}" for number in range(1, 10, 2)}


def test_rows_that_do_not_fit_are_set_aside_with_the_name_of_their_source(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"prompt": "one"}\n{"prompt": null}\n{"prompt": "one"}\n')
    found = read_all(Reading(inputs_of(behaviour_of({"path": "json", "files": [str(tmp_path / "rows.jsonl")]})), 1000))
    assert all(row.id.startswith("s:") for row in found.conversations)
    assert [(row.row, row.reason) for row in found.quarantined] == [
        (2, "s: prompt|instruction|user_input|query|forbidden_prompt|goal|behavior|Prompt: is required"),
        (3, "s: equal to line 1"),
    ]


def test_columns_that_are_gone_are_told(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"request": "one", "label": "safe"}\n')
    place = {"path": "json", "files": [str(tmp_path / "rows.jsonl")]}
    with pytest.raises(DataError, match="s: columns: no row has prompt, which user is read from"):
        Reading(inputs_of(behaviour_of(place, columns={"user": "prompt"})), 1000)
    with pytest.raises(DataError, match="s: no row has the values of `where`"):
        Reading(inputs_of(behaviour_of(place, where={"type": ["safe"]})), 1000)


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (
            datasets.exceptions.DatasetNotFoundError("Dataset 'org/d' is a gated dataset on the Hub."),
            "accept its conditions at https://huggingface.co/datasets/org/d, set HF_TOKEN.*or give a local copy",
        ),
        (ConnectionError("Couldn't reach 'org/d' on the Hub (OfflineModeIsEnabled)"), "HF_HUB_OFFLINE=1, or give a"),
        (datasets.exceptions.DatasetNotFoundError("Dataset 'org/d' doesn't exist"), "whether it is still there"),
        (ValueError("Unknown split \"test\". Should be one of ['train']."), "Unknown split.*with this split"),
        (RuntimeError("Dataset scripts are no longer supported, but found d.py"), "scripts are no longer.*local copy"),
    ],
)
def test_what_cannot_be_had_is_told_with_what_to_do(
    error: Exception, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        assert "trust_remote_code" not in options
        raise error

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(DataError, match=f"org/d \\(test at abc\\) cannot be loaded: .*{remedy}"):
        rows_of(DatasetConfig(path="org/d", split="test", revision="abc"))


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ConfigError, match=r"pip install 'mascing\[datasets\]', or give a local copy by `file`"):
        rows_of(DatasetConfig(path="org/d"))


def test_the_command_line_and_a_run_from_files_do_not_import_it() -> None:
    code = "import sys, mascing.cli, mascing.catalogue.inputs; sys.exit('datasets' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_address_that_cannot_be_reached_is_not_the_fault_of_the_data_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*arguments: Any, **options: Any) -> None:
        raise FileNotFoundError("https://example.org/rows.csv")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    with pytest.raises(DataError, match="where there is no network, load it once on a machine that has one"):
        rows_of(DatasetConfig(path="csv", files=("https://example.org/rows.csv",)))
