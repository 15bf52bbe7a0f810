"""The engine `vllm` gives the replies and the traces of transformers; these tests need the environment of vLLM."""

from typing import cast

import pytest
import torch

from mascing.engines.engine import ModelEngine, Turn
from mascing.engines.installed import is_vllm_on_cpu
from mascing.engines.table import Place, make_engine
from mascing.engines.transformers_engine import TransformersEngine
from mascing.engines.unloadable import CPU_HEADS
from mascing.masks.mask import Mask
from mascing.models.loading import load
from mascing.schemas.config import GenerationConfig, ModelConfig
from mascing.schemas.conversation import Conversation
from mascing.schemas.settings.engine_settings import VllmEngine as Options
from tests.mascing import olmoe_folder

pytest.importorskip("vllm", reason="it has an environment of its own")

GENERATION = GenerationConfig(max_new_tokens=12, batch_size=4)
ASKED = [
    olmoe_folder.conversation("short", "hi"),
    olmoe_folder.conversation("system", "what is a bench?", system="be brief"),
    olmoe_folder.conversation("turns", "one", "two", "three"),
    olmoe_folder.conversation("long", "a very long first turn, " * 20, "yes", "of a conversation that is cut " * 3),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelConfig:
    folder = tmp_path_factory.mktemp("model") / "model"
    return ModelConfig(path=str(olmoe_folder.save(folder, hidden_size=64, max_position_embeddings=256)))


@pytest.fixture(scope="module")
def vllm(model: ModelConfig) -> ModelEngine:
    options = Options(max_num_seqs=8, kv_cache_memory_bytes=64 << 20)
    return cast(ModelEngine, make_engine(options, Place(model=model)))


@pytest.fixture(scope="module")
def transformers(model: ModelConfig) -> ModelEngine:
    return TransformersEngine(load(model))


@pytest.fixture(scope="module")
def turns(transformers: ModelEngine) -> list[Turn]:
    """Each conversation without a mask, under one that does nothing, and under two that do."""
    spec, draw = transformers.spec, torch.Generator().manual_seed(0)
    shape = (spec.n_layers, spec.n_experts)
    biases = [torch.randn(shape, generator=draw) * 3 for _ in range(2)]
    masks = [None, *(Mask.from_bias(bias_LE, spec) for bias_LE in (torch.zeros(shape), *biases))]
    return [Turn(row, mask) for row in ASKED for mask in masks]


def replies(engine: ModelEngine, turns: list[Turn], generation: GenerationConfig = GENERATION) -> list[object]:
    made = dict(engine.replies(turns, generation))
    return [made[number].reply for number in range(len(turns))]


def test_greedy_replies_are_those_of_transformers_under_each_mask_of_a_batch(
    vllm: ModelEngine, transformers: ModelEngine, turns: list[Turn]
) -> None:
    said = replies(vllm, turns)
    assert said == replies(transformers, turns)
    assert len(set(map(str, said[:4]))) > 1, "a mask changes a reply"
    assert vllm.spec == transformers.spec


def test_the_id_of_a_conversation_seeds_its_reply_whatever_shares_the_batch(
    vllm: ModelEngine, turns: list[Turn]
) -> None:
    warm = GENERATION.model_copy(update={"temperature": 1.0})
    together = replies(vllm, turns, warm)
    assert [replies(vllm, [turn], warm)[0] for turn in turns] == together
    renamed = [
        Turn(turn.conversation.model_copy(update={"id": f"{turn.conversation.id}#1"}), turn.mask) for turn in turns
    ]
    assert replies(vllm, renamed, warm) != together


@pytest.mark.parametrize("with_reply", [False, True])
def test_traces_are_those_of_transformers(vllm: ModelEngine, transformers: ModelEngine, with_reply: bool) -> None:
    rows: list[Conversation] = [row.model_copy(update={"own_reply": "a bench is a seat"}) for row in ASKED]
    both = zip(*(engine.traces(rows, 4096, with_reply) for engine in (vllm, transformers)), strict=True)
    for ours, theirs in both:
        assert (ours.conversation_id, ours.regions.tolist()) == (theirs.conversation_id, theirs.regions.tolist())
        torch.testing.assert_close(ours.z, theirs.z, rtol=1e-3, atol=2e-3)
        assert ours.selected.dtype == theirs.selected.dtype
        assert torch.equal(ours.selected.sort(-1).values, theirs.selected.sort(-1).values)


def test_kernels_for_cpus_are_known_by_the_sizes_of_heads() -> None:
    if not is_vllm_on_cpu():
        return
    from vllm import _custom_ops
    from vllm.v1.attention.backends.cpu_attn import _get_attn_isa

    def has_kernel(size: int) -> bool:
        lengths, starts = torch.tensor([3], dtype=torch.int32), torch.tensor([0, 3], dtype=torch.int32)
        isa, dtype = _get_attn_isa(torch.float32, 32, size), torch.float32
        try:
            _custom_ops.cpu_attn_get_scheduler_metadata(1, 2, 2, size, lengths, dtype, starts, True, -1, isa, True)
        except RuntimeError:
            return False
        return True

    assert tuple(size for size in range(8, 600, 8) if has_kernel(size)) == CPU_HEADS
