"""What vLLM does to a batch, and what masks must survive: prefix cache, chunks of prompts, mixed batches, graphs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoModelForCausalLM

import mascing
from mascing.errors import DataError, MaskError, SteeringError
from mascing.masks.mask import Mask
from mascing.serving.vllm_plugin import offline
from mascing.serving.vllm_plugin.offline import Request, SteeredVllm
from tests.mascing.olmoe_folder import save
from tests.mascing.serving.vllm_plugin.test_steered_families import TOKENS, added, greedy, overridden, recorded
from tests.mascing.serving.vllm_plugin.tiny_checkpoints import ENGINE_ARGS

vllm = pytest.importorskip("vllm")

PROMPTS = [[5 + i, 9, 7 + 2 * i, 30, 8, 41 + i] * 6 for i in range(4)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("olmoe"), hidden_size=64)


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    model.generation_config.eos_token_id = None
    return model


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[SteeredVllm]:
    """Small blocks, so that prompts are cached, and a budget of tokens that cuts them into chunks."""
    yield loaded(folder, block_size=32, max_num_batched_tokens=40)
    vllm.distributed.cleanup_dist_env_and_memory()


def loaded(folder: Path, slots: int = 3, **changes: Any) -> SteeredVllm:
    given = {**ENGINE_ARGS, **changes}
    return SteeredVllm(str(folder), dtype=given.pop("dtype"), slots=slots, capture=True, engine_args=given)


def said(served: SteeredVllm, requests: list[Request]) -> list[list[int]]:
    replies = dict(served.generate(requests, max_new_tokens=TOKENS))
    return [replies[number].token_ids for number in range(len(requests))]


def test_a_mixed_batch_with_more_masks_than_slots_says_what_separate_runs_say(served: SteeredVllm, model: Any) -> None:
    masks = [None, *(added(served.spec, seed) for seed in range(4)), overridden(served.spec)]
    requests = [Request(prompt, mask) for prompt in PROMPTS for mask in masks]
    mixed = said(served, requests)
    assert mixed == [said(served, [request])[0] for request in requests]
    assert mixed == [greedy(model, list(request.prompt), request.mask) for request in requests]


def test_no_mask_reads_what_another_left_in_the_prefix_cache(
    served: SteeredVllm, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = list(range(60, 140))
    masks = [added(served.spec, 7), added(served.spec, 8), None]
    expected = [greedy(model, prompt, mask) for mask in masks]
    [first] = dict(served.generate([Request(prompt, masks[0])], max_new_tokens=TOKENS)).values()
    assert [said(served, [Request(prompt, mask)])[0] for mask in masks] == expected
    [again] = dict(served.generate([Request(prompt, masks[0])], max_new_tokens=TOKENS)).values()
    assert set(again.steered.values()) == {n - 64 for n in first.steered.values()}, "two blocks of 32 were not cached"
    monkeypatch.setattr(offline, "cache_salt", lambda digest, span: "the same for all")
    assert [said(served, [Request(prompt, mask)])[0] for mask in masks[:2]] != expected[:2]


@pytest.mark.parametrize("tokens", ["prompt", "reply"])
def test_a_mask_acts_on_a_part_of_the_conversation(served: SteeredVllm, model: Any, tokens: Any) -> None:
    mask = added(served.spec, 3)
    with mascing.steer(model, mask, tokens=tokens):
        expected = [greedy(model, prompt, None) for prompt in PROMPTS]
    assert said(served, [Request(prompt, mask, tokens) for prompt in PROMPTS]) == expected
    assert expected != [greedy(model, prompt, None) for prompt in PROMPTS]
    assert expected != [greedy(model, prompt, mask) for prompt in PROMPTS]


def test_a_mask_acts_from_a_position_on(served: SteeredVllm) -> None:
    mask, prompt = added(served.spec, 3), PROMPTS[0]
    [reply] = dict(served.generate([Request(prompt, mask, "from:10")], max_new_tokens=TOKENS)).values()
    assert set(reply.steered.values()) == {len(prompt) - 10 + TOKENS - 1}
    whole, from_start, of_reply, from_reply = said(
        served,
        [Request(prompt, mask, tokens) for tokens in ("all", "from:0", "reply", f"from:{len(prompt)}")],
    )
    assert (whole, of_reply) == (from_start, from_reply)
    assert whole != of_reply


def test_a_slot_takes_another_mask_in_place(served: SteeredVllm, model: Any) -> None:
    for seed in range(12):  # four times as many as there are slots
        mask = added(served.spec, 20 + seed)
        assert said(served, [Request(PROMPTS[0], mask)]) == [greedy(model, PROMPTS[0], mask)]


def test_the_mask_of_another_model_is_refused_and_the_next_request_is_served(
    served: SteeredVllm, tmp_path: Path
) -> None:
    stranger = AutoModelForCausalLM.from_pretrained(save(tmp_path, hidden_size=64, initializer_range=0.2))
    foreign = Mask.from_experts({0: {1: 2.0}}, stranger)
    with pytest.raises(MaskError, match="another model"):
        said(served, [Request(PROMPTS[0], foreign)])
    assert len(said(served, [Request(PROMPTS[0])])) == 1


def test_a_second_call_beside_the_first_is_refused_and_the_first_goes_on(served: SteeredVllm, model: Any) -> None:
    masks = [added(served.spec, seed) for seed in range(6)]
    replies = served.generate([Request(prompt, masks[0]) for prompt in PROMPTS], max_new_tokens=TOKENS)
    first = dict([next(replies)])
    others = [Request(PROMPTS[0], mask) for mask in masks[3:]]  # they would take the slots of the first
    for call in served.generate(others, max_new_tokens=TOKENS), served.record(PROMPTS):
        with pytest.raises(SteeringError, match=r"read what it yields to the end, or close\(\) its iterator"):
            next(call)
    replied = first | dict(replies)
    assert [replied[i].token_ids for i in range(4)] == [greedy(model, prompt, masks[0]) for prompt in PROMPTS]
    given_up = served.generate([Request(prompt) for prompt in PROMPTS], max_new_tokens=TOKENS)
    next(given_up)
    given_up.close()
    assert said(served, [Request(PROMPTS[0])]) == [greedy(model, PROMPTS[0], None)]


@pytest.mark.parametrize(
    ("prompt", "told"),
    [
        ([], "request 1: its prompt is empty"),
        ([5] * 256, "request 1: its prompt has 256 tokens, .* reads up to 256"),
        ([5, 300], "request 1: the model has no token 300: its ids are 0 to 299"),
        ([5, -1], "request 1: the model has no token -1"),
    ],
)
def test_a_prompt_that_the_model_cannot_read_is_told_before_anything_runs(
    served: SteeredVllm, prompt: list[int], told: str
) -> None:
    with pytest.raises(DataError, match=told):
        said(served, [Request(PROMPTS[0]), Request(prompt)])
    with pytest.raises(DataError, match=told):
        next(served.record([PROMPTS[0], prompt]))
    assert not served._llm.llm_engine.has_unfinished_requests()


def test_what_the_engine_refuses_leaves_nothing_running(served: SteeredVllm, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, engine = served._llm.llm_engine.add_request, served._llm.llm_engine

    def add_request(name: str, prompt: Any, params: Any) -> None:
        if engine.has_unfinished_requests():
            raise ZeroDivisionError
        plain(name, prompt, params)

    with monkeypatch.context() as patch:
        patch.setattr(engine, "add_request", add_request)
        with pytest.raises(ZeroDivisionError):
            said(served, [Request(prompt) for prompt in PROMPTS])
    assert not engine.has_unfinished_requests()
    assert len(said(served, [Request(PROMPTS[0])])) == 1


@pytest.mark.parametrize("tokens", ["ALL", "from:x", ""])
def test_tokens_that_are_none_are_refused_with_a_mask_and_without(tokens: str) -> None:
    with pytest.raises(MaskError, match="'all', 'prompt', 'reply' or 'from:N'"):
        Request(PROMPTS[0], tokens=tokens)


def test_a_layer_that_does_not_steer_is_told(served: SteeredVllm, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = served._llm.llm_engine.model_executor.driver_worker.worker.model_runner
    layer = runner.mascing._layers[1].runner
    monkeypatch.setattr(layer, "_maybe_dispatch", type(layer)._maybe_dispatch.__get__(layer))
    with pytest.raises(SteeringError, match="layer 1 steered 0"):
        said(served, [Request(PROMPTS[0], added(served.spec, 99))])


@pytest.mark.parametrize(
    "changes", [{"point": "_apply_quant_method"}, {"enforce_eager": False}], ids=["point", "compiled"]
)
def test_the_second_point_and_compiled_graphs_say_and_record_the_same(
    folder: Path, model: Any, changes: dict[str, Any]
) -> None:
    point = changes.get("point")
    given = {name: value for name, value in changes.items() if name != "point"}
    served = loaded(folder, additional_config={"mascing": {"point": point}}, **given)
    masks = [None, added(served.spec, 1), overridden(served.spec)]
    requests = [Request(prompt, mask) for prompt in PROMPTS for mask in masks]
    assert said(served, requests) == [greedy(model, list(request.prompt), request.mask) for request in requests]
    for _ in range(2):  # the prefixes are cached by now
        for number, z_TLE, ids_TLK in served.record(PROMPTS):
            expected_z_TLE, expected_ids_TLK = recorded(model, PROMPTS[number])
            np.testing.assert_allclose(z_TLE, expected_z_TLE, atol=1e-3)
            assert np.array_equal(np.sort(ids_TLK), np.sort(expected_ids_TLK))
    vllm.distributed.cleanup_dist_env_and_memory()
