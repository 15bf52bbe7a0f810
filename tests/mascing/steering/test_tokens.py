"""Masks that act on the prompt or on the reply alone, and counters of real tokens.

The reference applies the bias by position in plain forwards of one unpadded row, without a cache.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import CompileConfig, GenerationConfig, OlmoeForCausalLM

from mascing.errors import MaskError, SteeringError
from mascing.masks.mask import Mask
from mascing.routers.spec import inspect_routers
from mascing.routers.tap import tap_routers
from mascing.steering.forwards import Tokens
from mascing.steering.steer import steer
from mascing.traces.recording import record
from tests.mascing.tiny_olmoe import tiny_olmoe, tokens

NEW = 6


@pytest.fixture(scope="module")
def model() -> OlmoeForCausalLM:
    return tiny_olmoe()


@pytest.fixture(scope="module")
def mask(model: OlmoeForCausalLM) -> Mask:
    bias = torch.randn(3, 8, generator=torch.Generator().manual_seed(0)) * 4
    return Mask.from_bias(bias, inspect_routers(model))


PROMPTS = [row.tolist() for row in (tokens(1, 7)[0], tokens(1, 4, 1)[0], tokens(1, 5, 2)[0])]


def padded(rows: Sequence[Sequence[int]], left: bool = True) -> dict[str, Tensor]:
    length = max(map(len, rows))
    ids = [[0] * (length - len(row)) + list(row) if left else list(row) + [0] * (length - len(row)) for row in rows]
    real = [
        [0] * (length - len(row)) + [1] * len(row) if left else [1] * len(row) + [0] * (length - len(row))
        for row in rows
    ]
    return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(real)}


def generate(model: OlmoeForCausalLM, rows: Sequence[Sequence[int]], **options: Any) -> Tensor:
    """Greedy replies of exactly NEW tokens."""
    settings = {"max_new_tokens": NEW, "min_new_tokens": NEW, "do_sample": False, **options}
    inputs = padded(rows)
    output: Tensor = model.generate(**inputs, **settings)
    return output[:, inputs["input_ids"].shape[1] :]


def reference(model: OlmoeForCausalLM, mask: Mask, prompt: Sequence[int], scope: Tokens) -> list[int]:
    ids = list(prompt)
    for _ in range(NEW):
        is_reply = torch.arange(len(ids)) >= len(prompt)
        acts = {"all": torch.ones(len(ids), dtype=torch.bool), "reply": is_reply, "prompt": ~is_reply}[scope]
        with torch.no_grad(), tap_routers(model, added_at(acts, mask)):
            scores = model(torch.tensor([ids]), use_cache=False).logits[0, -1]
        scores[2] = -torch.inf  # min_new_tokens forbids the end token
        ids.append(int(scores.argmax()))
    return ids[len(prompt) :]


def added_at(acts_T: Tensor, mask: Mask) -> Callable[[int, Tensor], Tensor]:
    """Adds the bias to the tokens of a forward of T tokens; the proof of the tap has another length."""
    bias_LE = mask.rule.signed_LE
    return lambda layer, z_TE: z_TE + acts_T[:, None] * bias_LE[layer] if len(z_TE) == len(acts_T) else z_TE


OPTIONS: dict[str, dict[str, Any]] = {
    "cache": {},
    "no cache": {"use_cache": False},
    "chunked prefill": {"prefill_chunk_size": 3},
    "static cache": {"cache_implementation": "static", "disable_compile": True},
    "prompt lookup": {"prompt_lookup_num_tokens": 2},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
@pytest.mark.parametrize("scope", ["all", "prompt", "reply"])
def test_replies_are_those_of_a_mask_on_these_tokens_alone(
    model: OlmoeForCausalLM, mask: Mask, scope: Tokens, options: dict[str, Any]
) -> None:
    rows = PROMPTS[:1] if "prompt_lookup_num_tokens" in options else PROMPTS
    wanted = [reference(model, mask, prompt, scope) for prompt in rows]
    with steer(model, mask, tokens=scope) as handle:
        assert generate(model, rows, **options).tolist() == wanted
    assert len(set(handle.counters.values())) == 1
    with steer(model, mask, tokens=scope):  # without padding, transformers leaves the attention mask out
        assert generate(model, PROMPTS[:1], **options).tolist() == wanted[:1]
    if options in (OPTIONS["cache"], OPTIONS["chunked prefill"], OPTIONS["static cache"]):
        prompt, reply = sum(map(len, rows)), len(rows) * (NEW - 1)  # nothing follows the last token of a reply
        assert handle.counters[0] == {"all": prompt + reply, "prompt": prompt, "reply": reply}[scope]


def test_the_reference_tells_the_three_apart(model: OlmoeForCausalLM, mask: Mask) -> None:
    plain = generate(model, PROMPTS).tolist()
    replies = [[reference(model, mask, prompt, scope) for prompt in PROMPTS] for scope in ("all", "prompt", "reply")]
    assert all(one != other for index, one in enumerate([plain, *replies]) for other in [plain, *replies][:index])


@pytest.mark.parametrize("left", [True, False])
@pytest.mark.parametrize("scope", ["all", "prompt", "reply"])
def test_padding_of_prompts_is_not_counted(model: OlmoeForCausalLM, mask: Mask, scope: Tokens, left: bool) -> None:
    prompt, reply = sum(map(len, PROMPTS)), len(PROMPTS) * (NEW - 1)
    with steer(model, mask, tokens=scope) as handle:
        model.generate(**padded(PROMPTS, left), max_new_tokens=NEW, min_new_tokens=NEW, do_sample=False)
        assert set(handle.counters.values()) == {{"all": prompt + reply, "prompt": prompt, "reply": reply}[scope]}
    with steer(model, [mask, None, mask], tokens=scope) as handle:
        model.generate(**padded(PROMPTS, left), max_new_tokens=NEW, min_new_tokens=NEW, do_sample=False)
        prompt, reply = 7 + 5, 2 * (NEW - 1)
        assert set(handle.counters.values()) == {{"all": prompt + reply, "prompt": prompt, "reply": reply}[scope]}


@pytest.mark.parametrize("scope", ["prompt", "reply"])
def test_masks_for_rows_act_on_the_tokens_of_their_rows(model: OlmoeForCausalLM, mask: Mask, scope: Tokens) -> None:
    plain = generate(model, PROMPTS).tolist()
    with steer(model, [mask, None, mask], tokens=scope) as handle:
        replies = generate(model, PROMPTS).tolist()
    wanted = [reference(model, mask, prompt, scope) for prompt in PROMPTS]
    assert replies == [wanted[0], plain[1], wanted[2]]
    assert set(handle.counters.values()) == {7 + 5 if scope == "prompt" else 2 * (NEW - 1)}


@pytest.mark.parametrize("scope", ["all", "prompt", "reply"])
def test_beams_are_steered_as_they_are_without_padding(model: OlmoeForCausalLM, mask: Mask, scope: Tokens) -> None:
    with steer(model, mask, tokens=scope):
        alone = [generate(model, [prompt], num_beams=2).tolist()[0] for prompt in PROMPTS]
    with steer(model, mask, tokens=scope) as handle:
        assert generate(model, PROMPTS, num_beams=2).tolist() == alone
    prompt, reply = 2 * (7 + 4 + 5), 2 * 3 * (NEW - 1)
    assert set(handle.counters.values()) == {{"all": prompt + reply, "prompt": prompt, "reply": reply}[scope]}


COUNTED: list[tuple[Tokens, int]] = [("all", 7 + 4 + 5), ("reply", 0)]


def test_a_row_that_has_ended_counts_no_more(model: OlmoeForCausalLM, mask: Mask) -> None:
    with steer(model, mask):
        free = generate(model, PROMPTS).tolist()
    ends = next(token for token in free[0] if token not in free[1])  # ends the first reply, but not the second
    lengths = [row.index(ends) if ends in row else NEW for row in free]
    assert len(set(lengths)) > 1
    for pad in (0, ends):
        for scope, prompts in COUNTED:
            with steer(model, mask, tokens=scope) as handle:
                generate(model, PROMPTS, min_new_tokens=0, eos_token_id=ends, pad_token_id=pad)
            assert set(handle.counters.values()) == {prompts + sum(min(length, NEW - 1) for length in lengths)}


@pytest.mark.parametrize("left", [True, False])
def test_padding_of_a_plain_forward_does_not_count(model: OlmoeForCausalLM, mask: Mask, left: bool) -> None:
    batch = padded(PROMPTS, left)
    with steer(model, mask) as handle:
        model(**batch)
        assert set(handle.counters.values()) == {7 + 4 + 5}
        model(batch["input_ids"], batch["attention_mask"])
        assert set(handle.counters.values()) == {2 * (7 + 4 + 5)}
    with steer(model, [None, mask, None]) as handle:
        model(**batch)
        assert set(handle.counters.values()) == {4}
    with steer(model, mask) as handle:
        grown = torch.cat([batch["attention_mask"], torch.ones(3, 1, dtype=torch.long)], 1)
        cache = model(**batch).past_key_values
        model(tokens(3, 1), attention_mask=grown, past_key_values=cache)
        assert set(handle.counters.values()) == {7 + 4 + 5 + 3}


def test_embeddings_in_place_of_ids_are_a_prompt_too(model: OlmoeForCausalLM, mask: Mask) -> None:
    ids = torch.tensor(PROMPTS[:1])
    settings: dict[str, Any] = {"max_new_tokens": NEW, "min_new_tokens": NEW, "do_sample": False}
    for scope in ("prompt", "reply"):
        with steer(model, mask, tokens=scope):
            reply = model.generate(inputs_embeds=model.get_input_embeddings()(ids), **settings)
        assert reply[0].tolist() == reference(model, mask, PROMPTS[0], scope)


def test_a_conversation_goes_on_from_its_cache(model: OlmoeForCausalLM, mask: Mask) -> None:
    """All that generate is given is the prompt, also what lies in the cache already."""
    ids = torch.tensor(PROMPTS[:1])
    with torch.no_grad():
        cache = model(ids[:, :-2]).past_key_values
    with steer(model, mask, tokens="prompt") as handle:
        model.generate(ids, past_key_values=cache, max_new_tokens=NEW, min_new_tokens=NEW, do_sample=False)
    assert set(handle.counters.values()) == {2}


@pytest.mark.parametrize("scope", ["prompt", "reply"])
def test_a_plain_forward_needs_a_mark(model: OlmoeForCausalLM, mask: Mask, scope: Tokens) -> None:
    ids = torch.tensor(PROMPTS[:1])
    reply = torch.arange(7)[None] >= 4
    with torch.no_grad(), tap_routers(model, added_at((reply if scope == "reply" else ~reply)[0], mask)):
        wanted = model(ids).logits
    with torch.no_grad(), steer(model, mask, tokens=scope) as handle:
        with pytest.raises(SteeringError, match="cannot tell prompt from reply in a plain forward"):
            model(ids)
        with handle.marked(reply):
            assert torch.equal(model(ids).logits, wanted)
            with pytest.raises(SteeringError, match=r"the mark is for \[1, 7\].*the forward has \[1, 5\]"):
                model(ids[:, :5])
        with pytest.raises(SteeringError, match=r"bool tensor \[rows, tokens\].*not torch.int64"), handle.marked(ids):
            pass
        with pytest.raises(SteeringError, match="plain forward"):
            model(ids)
    assert set(handle.counters.values()) == {3 if scope == "reply" else 4}


def test_who_else_proves_the_model_is_not_refused_and_counts_nothing(model: OlmoeForCausalLM, mask: Mask) -> None:
    with steer(model, mask, tokens="reply") as handle, record(model) as trace:
        assert set(handle.counters.values()) == {0}
        generate(model, PROMPTS[:1])
        assert trace.logits.shape == (1, 7 + NEW - 1, 3, 8)
        assert set(handle.counters.values()) == {NEW - 1}


def test_what_packs_or_copies_the_tokens_is_refused(model: OlmoeForCausalLM, mask: Mask) -> None:
    with steer(model, mask, tokens="prompt"):
        with pytest.raises(SteeringError, match=r'packs prompts and replies into one row.*tokens="all"'):
            model.generate_batch(PROMPTS, generation_config=GenerationConfig(max_new_tokens=2), progress_bar=False)
        with pytest.raises(SteeringError, match="a copy of the model"):
            model.model.layers[0].mlp(torch.randn(1, 3, 32))
    with steer(model, mask):
        twin = copy.deepcopy(model)
        assert torch.equal(twin(tokens(1, 4)).logits, model(tokens(1, 4)).logits)
        assert generate(twin, PROMPTS).tolist() == generate(model, PROMPTS).tolist()


def test_a_compiled_model_acts_on_the_marked_tokens(model: OlmoeForCausalLM, mask: Mask) -> None:
    torch._dynamo.reset()
    compiled: Any = torch.compile(model, backend="eager", fullgraph=True, dynamic=False)
    ids, reply = torch.tensor(PROMPTS[:1]), torch.arange(7)[None] >= 4
    with torch.no_grad(), steer(model, mask, tokens="reply") as handle, handle.marked(reply):
        wanted = model(ids, use_cache=False).logits
        torch.testing.assert_close(compiled(input_ids=ids, use_cache=False).logits, wanted, rtol=1e-5, atol=1e-5)
        assert set(handle.counters.values()) == {6}


@pytest.mark.parametrize("wrong", ["prompts", None, 3])
def test_other_names_of_tokens_are_refused(model: OlmoeForCausalLM, mask: Mask, wrong: Any) -> None:
    with pytest.raises(MaskError, match="tokens must be one of all, prompt, reply"):
        steer(model, mask, tokens=wrong)


@pytest.mark.parametrize("wrong", ["mask.safetensors", 0.5, None, {0: 1}, torch.zeros(3, 8)])
def test_what_is_no_mask_is_refused(model: OlmoeForCausalLM, wrong: Any) -> None:
    rows: list[Any] = [None, {} if wrong is None else wrong]
    with pytest.raises(MaskError, match="is no mask: pass a mask"):
        steer(model, wrong)
    with pytest.raises(MaskError, match="at row 1 is no mask"):
        steer(model, rows)


@pytest.mark.parametrize("scope", ["all", "prompt", "reply"])
def test_generation_that_compiles_its_steps_compiles_them_once(
    model: OlmoeForCausalLM, mask: Mask, scope: Tokens
) -> None:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    compiling = CompileConfig(backend="eager", mode=None, fullgraph=True)
    compiling._compile_all_devices = True  # by itself, transformers compiles on accelerators alone
    wanted = [reference(model, mask, prompt, scope) for prompt in PROMPTS]
    with steer(model, mask, tokens=scope) as handle:
        replies = generate(model, PROMPTS, cache_implementation="static", compile_config=compiling)
    assert replies.tolist() == wanted
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    prompt, reply = sum(map(len, PROMPTS)), len(PROMPTS) * (NEW - 1)
    assert set(handle.counters.values()) == {{"all": prompt + reply, "prompt": prompt, "reply": reply}[scope]}
