"""The page `docs/your-model.md` works as it stands on a model that thinks first, and README's examples are valid."""

import json
import shlex
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml

from mascing.cli import main
from mascing.config import load_config
from mascing.conversations.intake.reader import open_conversations, read_all
from mascing.masks.mask import Mask
from mascing.runs.finished_run import read_result
from mascing.runs.registry import channels
from mascing.runs.run_folder import find_run
from mascing.schemas.config import BehaviourConfig
from mascing.storage.object_storage import Storage
from mascing.storage.source import files_of_rows
from tests.docs.blocks import blocks
from tests.tasks.here_pool import HerePool
from tests.tiny_families import Family
from tests.tiny_families.questions import all_questions, conversation_of

ROOT = Path(__file__).parents[2]
PAGE, README = ROOT / "docs" / "your-model.md", ROOT / "README.md"
STEPS = ("conversations", "check", "judge", "label", "plan", "run", "runs", "report", "registry", "mask")

pytestmark = pytest.mark.usefixtures("prefect_here")


def commands(page: Path) -> Iterator[str]:
    """The command lines of a page, in order."""
    for block in blocks(page, "bash"):
        yield from (line for line in block.splitlines() if line.startswith("mascing "))


@pytest.fixture(scope="module")
def folder(family_folder: Callable[[Family], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a newcomer: a model, unlabelled conversations, some replies, and the page's run.yaml."""
    folder = tmp_path_factory.mktemp("newcomer")
    (folder / "my-model").symlink_to(family_folder("qwen3_moe"))
    rows = [conversation_of(question) for question in all_questions()]
    # Every right answer says so; the other sets bring nothing but their conversations.
    rows = [row | {"references": ["slowly"]} if row["set"].startswith("utility/") else row for row in rows]
    assert not any({"label", "wanted", "unwanted"} & row.keys() for row in rows)
    (folder / "conversations.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (folder / "replies.jsonl").write_text('{"reply": "I cannot help with that."}\n{"reply": "Take the loaf."}\n')
    [run] = (block for block in blocks(PAGE, "yaml") if block.startswith("# run.yaml"))
    (folder / "run.yaml").write_text(run)
    return folder


@pytest.fixture(scope="module")
def said(folder: Path) -> dict[str, str]:
    """What every command of the page prints, run in order; each must succeed."""
    outputs = {}
    with pytest.MonkeyPatch.context() as here:
        here.chdir(folder)
        for flow in ("label_line", "reconfigure"):  # how Ray starts from a command line is tested elsewhere
            here.setattr(f"mascing.flows.{flow}.Pool", lambda *_: HerePool())
        for command in commands(PAGE):
            outputs[command] = printed(command)
    return outputs


def printed(command: str) -> str:
    """What a command prints; it must succeed."""
    with redirect_stdout(StringIO()) as out:
        code = main(shlex.split(command)[1:])
    assert code == 0, f"{command}: {out.getvalue()}"
    return out.getvalue()


def test_the_page_goes_through_every_step_and_each_command_works(said: dict[str, str]) -> None:
    assert {command.split()[1] for command in said} == set(STEPS)
    assert "480 conversations in 120 groups" in said["mascing conversations conversations.jsonl"]
    assert "leave enough to learn from" in said["mascing label run.yaml"]
    assert "label: already done" in said["mascing run run.yaml"]


def test_a_mask_is_published_and_no_reply_is_judged_by_its_thought(folder: Path, said: dict[str, str]) -> None:
    storage = Storage.open(str(folder / "mascing-data"))
    result = read_result(storage, find_run(storage).folder)
    assert result.published is not None
    [channel] = channels(storage)
    assert channel.mask == result.mask
    assert channel.address in said["mascing registry list"]
    for sets in result.labels.values():
        target = sets.pop("target")
        assert target.hits == target.misses > 0
        # A thought reads like the opposite of its reply: judged by it, these would be misses.
        assert all(replies.misses == replies.unscored == 0 < replies.hits for replies in sets.values())


@pytest.mark.usefixtures("said")
def test_the_python_of_the_page_steers(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    [code] = blocks(PAGE, "python")
    exec(code, names)
    assert isinstance(names["mask"], Mask)
    assert "I cannot help with that loaf." in capsys.readouterr().out


def test_the_other_behaviours_of_the_page_have_judges_that_are_there() -> None:
    judges = [block for block in blocks(PAGE, "yaml") if block.startswith("  target:")]
    assert len(judges) == 2
    for block in judges:
        lines = "\n".join(line.strip() for line in block.splitlines())
        BehaviourConfig.model_validate(yaml.safe_load(f"name: b\nconversations: c.jsonl\n{lines}"))


def test_the_example_of_the_readme_is_a_valid_run(tmp_path: Path) -> None:
    [run] = blocks(README, "yaml")
    (tmp_path / "run.yaml").write_text(run)
    behaviour = load_config(str(tmp_path / "run.yaml")).behaviour
    assert behaviour.target.kind == behaviour.protected.kind == "refusal"
    assert "phrases" not in run


@pytest.mark.parametrize("page", [README, PAGE], ids=lambda page: page.name)
def test_the_rows_that_are_shown_can_be_read(page: Path, tmp_path: Path) -> None:
    [rows] = blocks(page, "json")
    (tmp_path / "rows.jsonl").write_text(rows)
    read = read_all(open_conversations(files_of_rows(str(tmp_path / "rows.jsonl")), None, 1000))
    assert [row.id for row in read.conversations] == [json.loads(row)["id"] for row in rows.splitlines()]
