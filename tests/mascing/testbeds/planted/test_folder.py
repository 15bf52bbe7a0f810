"""The built folder: an ordinary model folder, the same bytes for the same seed."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from mascing.cli import main
from mascing.routers.spec import find_routers
from mascing.schemas.conversation import Conversation
from mascing.testbeds.planted import BEHAVIOURS, behaviour_config, build, conversations
from mascing.testbeds.planted.__main__ import main as make
from tests.docs.blocks import blocks

PAGE = Path(__file__).parents[4] / "docs" / "testbeds.md"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a model that was hardly trained."""
    path = tmp_path_factory.mktemp("testbed") / "new" / "folder"
    build(0, path, steps=2)
    return path


def loaded(folder: Path) -> tuple[Any, Any]:
    return AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)


def test_plain_transformers_load_it_and_generate(folder: Path) -> None:
    model, tokenizer = loaded(folder)
    assert type(model).__name__ == "OlmoeForCausalLM"
    assert tokenizer.chat_template
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "explain the lantern of garden"}], add_generation_prompt=True, return_tensors="pt"
    )
    with torch.inference_mode():
        reply = model.generate(**prompt)
    assert prompt["input_ids"].shape[1] < reply.shape[1] <= prompt["input_ids"].shape[1] + 16


def test_ends_and_padding_are_known_to_model_and_tokenizer_alike(folder: Path) -> None:
    model, tokenizer = loaded(folder)
    assert model.generation_config.eos_token_id == model.config.eos_token_id == tokenizer.eos_token_id
    assert model.generation_config.pad_token_id == model.config.pad_token_id == tokenizer.pad_token_id
    assert not model.generation_config.do_sample
    assert model.config.vocab_size == len(tokenizer)
    assert model.config.max_position_embeddings == tokenizer.model_max_length


def test_every_conversation_survives_the_tokenizer(folder: Path) -> None:
    _, tokenizer = loaded(folder)
    texts = {row.messages[-1].content for row in conversations(BEHAVIOURS[0], 0)}
    texts |= {str(row.wanted) for row in conversations(BEHAVIOURS[0], 0)}
    for text in texts:
        ids = tokenizer.encode(text, add_special_tokens=False)
        assert len(ids) == len(text.split())
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids) == text


def test_the_tokenizer_takes_system_turns_capitals_and_unknown_words(folder: Path) -> None:
    _, tokenizer = loaded(folder)
    turns = [{"role": "system", "content": "okay"}, {"role": "user", "content": "Explain the submarine"}]
    ids = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=True)["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == [
        "<|system|>", "okay", "<|end|>", "<|user|>", "explain", "the", "<|unk|>", "<|end|>", "<|assistant|>",
    ]  # fmt: skip


def test_conversations_and_truths_lie_beside_the_model(folder: Path) -> None:
    truths = {}
    for behaviour in BEHAVIOURS:
        config = behaviour_config(behaviour, str(folder))
        lines = Path(str(config.conversations)).read_text(encoding="utf-8").splitlines()
        assert [Conversation.model_validate_json(line) for line in lines] == conversations(behaviour, 0)
        assert config.truth is not None
        truths[behaviour] = load_file(config.truth)["bias"]
    defence, policy = truths.values()
    assert torch.equal(defence, -policy)
    assert defence.shape == (4, 16)
    assert defence.dtype == torch.float32
    assert [(int((layer == 1).sum()), int((layer == -1).sum())) for layer in defence] == [
        (0, 0),
        (2, 2),
        (2, 2),
        (2, 2),
    ]


def test_the_same_seed_gives_the_same_bytes_whatever_ran_before(folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(99)
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    build(0, tmp_path / "again", steps=2)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    names = sorted(path.name for path in folder.iterdir())
    assert names == sorted(path.name for path in (tmp_path / "again").iterdir())
    for name in names:
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name


def test_another_seed_gives_another_model_and_circuit(folder: Path, tmp_path: Path) -> None:
    done: list[tuple[int, int]] = []
    build(1, tmp_path, progress=lambda step, total: done.append((step, total)), steps=1)
    assert done == [(1, 1)]
    for name in ("model.safetensors", f"truth-{BEHAVIOURS[0]}.safetensors", f"conversations-{BEHAVIOURS[0]}.jsonl"):
        assert (folder / name).read_bytes() != (tmp_path / name).read_bytes(), name


@pytest.mark.parametrize(("level", "family", "corrected"), [(2, "granitemoe", False), (3, "glm4_moe", True)])
def test_each_level_has_routers_of_its_own(tmp_path: Path, level: int, family: str, corrected: bool) -> None:
    build(0, tmp_path, steps=2, level=level)
    model, tokenizer = loaded(tmp_path)
    assert model.config.model_type == family
    routers = find_routers(model)
    assert all((router.correction is not None) == corrected for router in routers)
    truth = load_file(tmp_path / f"truth-{BEHAVIOURS[0]}.safetensors")["bias"]
    assert truth.shape == (len(routers), routers[0].n_experts)
    assert not truth[0].any()
    for row in conversations(BEHAVIOURS[0], 0, level):
        texts = [message.content for message in row.messages] + [str(row.paraphrase)]
        assert all(tokenizer.unk_token_id not in tokenizer.encode(text, add_special_tokens=False) for text in texts)
        assert row.paraphrase != row.messages[-1].content


def test_conversations_of_a_pair_share_their_form_and_system_prompt() -> None:
    pairs: dict[tuple[str, int], set[tuple[str, str]]] = {}
    for row in conversations(BEHAVIOURS[0], 0, level=3):
        if row.set == "target":
            system = row.messages[0].content if row.messages[0].role == "system" else ""
            pairs.setdefault((row.group_id, row.turns), set()).add((system, row.messages[-1].content))
    assert all(len(forms) == 1 for forms in pairs.values())
    assert len({system for forms in pairs.values() for system, _ in forms}) == 3


def test_the_campaign_of_the_page_can_start_on_what_the_command_makes(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mascing.testbeds.planted.__main__.build", partial(build, steps=2))
    make(Path("testbeds/level-2"), level=2)
    assert capsys.readouterr().out.endswith("model: testbeds/level-2\n")
    Path("testbeds/level-1").symlink_to(folder)
    [campaign] = blocks(PAGE, "yaml")
    Path("two-testbeds.yaml").write_text(campaign)
    assert main(["campaign", "two-testbeds.yaml", "--dry-run"]) == 0
    assert "left to do: 2 runs" in capsys.readouterr().out
