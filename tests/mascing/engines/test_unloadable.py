"""What vLLM is known not to load, by the files of a model."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from mascing.engines.unloadable import why_unloadable

SETTINGS = {"architectures": ["OlmoeForCausalLM"], "hidden_size": 64, "num_attention_heads": 2}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_file({"lm_head.weight": torch.zeros(2)}, tmp_path / "model.safetensors")
    return tmp_path


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, None),
        ({"num_attention_heads": 4}, "its attention heads have size 16"),
        ({"head_dim": 24}, "its attention heads have size 24"),
        ({"head_dim": None}, None),
        ({"num_attention_heads": 4, "head_dim": 48}, None),
        ({"num_attention_heads": 4, "kv_lora_rank": 512}, None),
        ({"text_config": {"hidden_size": 64, "num_attention_heads": 8}}, "its attention heads have size 8"),
        ({"hidden_size": None}, None),
        ({"architectures": None}, "its config.json names no `architectures`"),
    ],
)
def test_settings(changed: dict[str, Any], said: str | None, folder: Path) -> None:
    reason = why_unloadable(folder, SETTINGS | changed, on_cpu=True)
    assert reason is None if said is None else reason is not None and reason.startswith(said)


def test_any_size_of_heads_is_left_to_a_gpu(folder: Path) -> None:
    assert why_unloadable(folder, SETTINGS | {"head_dim": 24}, on_cpu=False) is None


def test_a_strange_file_of_tensors_beside_the_weights(folder: Path) -> None:
    save_file({"lm_head.weight": torch.zeros(2)}, folder / "copy.safetensors")
    assert why_unloadable(folder, SETTINGS, on_cpu=False) is None
    save_file({"bias": torch.zeros(2)}, folder / "truth.safetensors")
    assert "truth.safetensors holds 'bias'" in str(why_unloadable(folder, SETTINGS, on_cpu=False))
    (folder / "model.safetensors.index.json").write_text("{}")  # then it alone says which files are read
    assert why_unloadable(folder, SETTINGS, on_cpu=False) is None


def test_weights_that_are_not_here_yet(tmp_path: Path) -> None:
    assert why_unloadable(tmp_path, SETTINGS, on_cpu=True) is None
