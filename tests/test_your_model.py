"""The page `docs/your-model.md` works as it stands, on a model of another family that thinks before it replies."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mascing.cli import main
from mascing.config import load_config
from mascing.masks.mask import Mask
from mascing.runs.finished_run import read_result
from mascing.runs.run_folder import find_run
from mascing.storage.object_storage import Storage
from tests.tiny_families import Family
from tests.tiny_families.questions import all_questions, conversation_of

PAGE = Path(__file__).parents[1] / "docs" / "your-model.md"
README = Path(__file__).parents[1] / "README.md"

pytestmark = pytest.mark.usefixtures("prefect_here")


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(family_folder: Callable[[Family], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a newcomer: a model, unlabelled conversations, some replies, and the page's run.yaml."""
    folder = tmp_path_factory.mktemp("newcomer")
    (folder / "my-model").symlink_to(family_folder("qwen3_moe"))
    rows = [conversation_of(question) for question in all_questions()]
    assert all(row.keys() == {"id", "group_id", "set", "messages"} for row in rows)
    (folder / "conversations.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (folder / "replies.jsonl").write_text('{"reply": "I cannot help with that."}\n{"reply": "Take the loaf."}\n')
    [run] = blocks(PAGE, "yaml")
    (folder / "run.yaml").write_text(run)
    return folder


def test_every_command_of_the_page_works_and_a_mask_is_published(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    commands = [line for block in blocks(PAGE, "") for line in block.splitlines() if line.startswith("mascing ")]
    assert len(commands) >= 9
    said = {}
    for command in commands:
        assert main(shlex.split(command)[1:]) == 0, f"{command}: {capsys.readouterr()}"
        said[command] = capsys.readouterr().out
        print(command, said[command])
    storage = Storage.open("./mascing-data")
    result = read_result(storage, find_run(storage).folder)
    assert result.published is not None
    assert result.channel is not None
    assert result.channel.mask == result.mask
    labels = {split: sets["target"] for split, sets in result.labels.items()}
    # Judged by its thought, every one of them would be the opposite, and as many would be hits.
    assert all(replies.hits and replies.misses and not replies.unscored for replies in labels.values())
    assert "enough to learn from" in said["mascing label run.yaml"]
    assert "my-behaviour@candidate" in said["mascing registry list"]


def test_the_python_of_the_page_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    [masks] = {path.parent for path in Path("mascing-data/masks").rglob("mask.safetensors")}
    (folder / "mask.safetensors").write_bytes((masks / "mask.safetensors").read_bytes())
    import torch

    names: dict[str, Any] = {"inputs": {"input_ids": torch.tensor([[5, 6, 7]]), "max_new_tokens": 2}}
    [code] = blocks(PAGE, "python")
    exec(code, names)
    assert isinstance(names["mask"], Mask)


def test_the_example_of_the_readme_is_a_valid_run(tmp_path: Path) -> None:
    [run] = blocks(README, "yaml")
    (tmp_path / "run.yaml").write_text(run)
    assert load_config(str(tmp_path / "run.yaml")).behaviour.target.kind == "refusal"
