"""The page of sizes holds what its script prints, and the script counts what a forward really keeps."""

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from mascing.schemas.tables import SELECTED
from tests.bench.sizes import counting, on_gpu
from tests.bench.sizes.table import (
    ASSUMED,
    COUNTED,
    MEMORY,
    TIME,
    Sizes,
    counted_row,
    memory_row,
    stored_shares,
    time_row,
)
from tests.bench.sizes.true_models import GPT_OSS_20B, HUNYUAN_A13B, MIXTRAL_8X7B, MODELS, QWEN3_30B_A3B, TrueModel

PAGE = (Path(__file__).parents[3] / "docs" / "sizes.md").read_text()
each_model = pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)


def test_the_page_holds_what_the_script_prints() -> None:
    sizes = Sizes.of(GPT_OSS_20B)
    for header, row in ((COUNTED, counted_row), (MEMORY, memory_row), (TIME, time_row)):
        assert header in PAGE
        assert row(sizes) in PAGE
    assert ASSUMED in PAGE


@each_model
def test_a_model_of_true_size_has_the_parameters_of_its_page(model: TrueModel) -> None:
    total, active = counting.parameters(model.build("meta"))
    assert total / 1e9 == pytest.approx(model.parameters, rel=0.02)
    assert active / 1e9 == pytest.approx(model.active, rel=0.2)  # pages differ in whether embeddings count


@each_model
def test_what_is_counted_without_memory_is_what_a_cpu_keeps(model: TrueModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "SHORT", 32)
    monkeypatch.setattr(counting, "LENGTH", 64)
    real, counted = (model.build(device, **model.tiny()) for device in ("cpu", "meta"))
    assert counting.cache_per_token(counted) == counting.cache_per_token(real)
    # sdpa on `meta` also keeps a copy or two that a kernel does not.
    share = counting.saved_per_token(counted) / counting.saved_per_token(real)
    assert share == 1 if model is GPT_OSS_20B else 1 <= share < 1.1
    assert counting.forward_per_token(counted) == pytest.approx(counting.forward_per_token(real), rel=0.05)


def test_recomputed_layers_keep_a_fraction() -> None:
    model = QWEN3_30B_A3B.build("meta")
    inputs, layer = counting.recomputed_per_token(model)
    assert inputs == 48 * 2048 * 2
    assert inputs + layer < counting.saved_per_token(model) / 10


def test_the_cache_of_a_sliding_window_is_bounded() -> None:
    whole = 2 * 24 * 8 * 64 * 2
    assert whole / 2 < counting.cache_per_token(GPT_OSS_20B.build("meta")) < 0.7 * whole
    assert counting.cache_per_token(MIXTRAL_8X7B.build("meta")) == 2 * 32 * 8 * 128 * 2
    assert counting.cache_per_token(HUNYUAN_A13B.build("meta")) == 2 * 32 * 8 * 128 * 2


def test_shares_of_compression_are_measured_on_shards(tmp_path: Path) -> None:
    logits = torch.randn(4096, 16).half().numpy()
    table = pa.table(
        {
            SELECTED: pa.array([b"\1\2"] * 4096, pa.binary(2)),
            "z_000": pa.array([row.tobytes() for row in logits], pa.binary(32)),
        }
    )
    pq.write_table(table, tmp_path / "shard.parquet", compression="zstd", use_dictionary=False)
    of_logits, of_ids = stored_shares(tmp_path)
    assert 0.8 < of_logits < 1
    assert of_ids < 0.05


def test_the_script_for_a_gpu_runs_on_a_tiny_model_here(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["on_gpu", "--model", "mixtral-8x7b"]
    monkeypatch.setattr(sys, "argv", [*command, "--tiny", "--rows", "1", "--length", "16", "--batch", "2"])
    on_gpu.main()
    assert "| Mixtral-8x7B | " in capsys.readouterr().out
    if not torch.cuda.is_available():
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit, match="no GPU here"):
            on_gpu.main()
