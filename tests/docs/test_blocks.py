"""Every block of commands or Python in README and docs is run by a test, or says why none runs it."""

import csv
import json
import shlex
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import mascing
from mascing.cli import main
from mascing.storage.object_storage import Storage
from tests.docs.blocks import Block, all_blocks
from tests.mascing.runs.stored_traces import write_traces
from tests.tiny_families import Family
from tests.tiny_families.questions import all_questions, conversation_of

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "docker" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
RUN_ELSEWHERE = {
    "your-model.md": "tests/docs/test_your_model.py",
    "behaviours.md": "tests/docs/test_behaviours.py",
    "CONTRIBUTING.md": "tests/recipes",
}
LANGUAGES = {"bash", "python"}
BLOCKS = [block for page in PAGES for block in all_blocks(page)]
RUN_HERE = [
    block
    for block in BLOCKS
    if block.language in LANGUAGES and block.why is None and block.page.name not in RUN_ELSEWHERE
]


@pytest.fixture(scope="module")
def folder(family_folder: Callable[[Family], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the pages name: a model, an adapter, a mask, conversations, counts and a run with traces."""
    folder, model = tmp_path_factory.mktemp("reader"), family_folder("qwen3_moe")
    for name in ("my-model", "path/to/moe"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(model)
    loaded = AutoModelForCausalLM.from_pretrained(model)
    spec = mascing.inspect_routers(loaded)
    shape = (len(spec.layer_ids), spec.n_experts)
    mascing.Mask.from_bias(torch.randn(shape), spec).save(str(folder / "mask.safetensors"))
    for number, name in enumerate(("refused.csv", "answered.csv")):
        with (folder / name).open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(("layer", "expert", "count", "tokens"))
            rows.writerows(
                (layer, expert, 10 + (number + expert) % 3, 100)
                for layer in spec.layer_ids
                for expert in range(shape[1])
            )
    lora = peft.LoraConfig(target_modules=["q_proj"], r=2)
    peft.get_peft_model(loaded, lora).save_pretrained(folder / "adapter")
    write_traces(Storage.open(str(folder / "mascing-data")))
    (folder / "rows.csv").write_text(
        "prompt\n" + "".join(f"{json.dumps(conversation_of(q)['messages'][-1]['content'])}\n" for q in all_questions())
    )
    return folder


def test_every_block_says_its_language() -> None:
    assert [block for block in BLOCKS if not block.language] == []


def test_the_pages_that_other_tests_run_are_there() -> None:
    assert all((ROOT / path).exists() for path in RUN_ELSEWHERE.values())
    assert RUN_HERE


@pytest.mark.parametrize("block", RUN_HERE, ids=lambda block: f"{block.page.name}-{block.language}")
def test_a_block_works_as_it_stands(block: Block, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    if block.language == "python":
        exec(block.code, _names())
    for command in _commands(block.code) if block.language == "bash" else ():
        with redirect_stdout(StringIO()) as out:
            code = main(command[1:])
        assert command[0] == "mascing"
        assert code == 0, out.getvalue()


def _names() -> dict[str, Any]:
    """What a page takes for granted where it shows lines of Python: a model, masks for it, and tokens."""
    model = AutoModelForCausalLM.from_pretrained("my-model")
    input_ids = torch.arange(8)[None]
    return {
        "mascing": mascing,
        "model": model,
        "tokenizer": AutoTokenizer.from_pretrained("my-model"),
        "mask": mascing.Mask.load("mask.safetensors"),
        "other": mascing.Mask.load("mask.safetensors"),
        "input_ids": input_ids,
        "reply": input_ids > 4,
    }


def _commands(code: str) -> Iterator[list[str]]:
    """The words of each command; a backslash continues a line."""
    for line in code.replace("\\\n", " ").splitlines():
        if words := shlex.split(line, comments=True):
            yield words
