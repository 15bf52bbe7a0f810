"""Chat completions of the thin endpoint, by the real client: the engine's replies, each under the mask it asked for."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest
import torch

from mascing.conversations.chat import render
from mascing.engines.engine import Turn
from mascing.engines.transformers_engine import TransformersEngine
from mascing.masks.mask import Mask
from mascing.schemas.config import GenerationConfig
from mascing.steering.steer import steer
from mascing.traces.recording import record
from tests.mascing import olmoe_folder
from tests.mascing.serving.running import MODEL, Running, ask

LAYERS = ("0", "1", "2")
TEXTS = ("hello", "a longer text than that one")


def of_the_engine(text: str, mask: Mask | None, tokens: int = 8) -> str:
    engine = TransformersEngine(olmoe_folder.loaded())
    turn = Turn(olmoe_folder.conversation("one", text), mask)
    [(_, answer)] = engine.replies([turn], GenerationConfig(max_new_tokens=tokens))
    return answer.reply.text


@pytest.mark.parametrize("name", ["none", "defence", "policy", "brief"])
def test_a_greedy_reply_is_that_of_the_engine_and_says_what_steered_it(server: Running, name: str) -> None:
    mask = server.masks.get(name)
    for text in TEXTS:
        reply = ask(server.client, text, mask=name)
        assert reply.choices[0].message.content == of_the_engine(text, mask)
        assert reply.choices[0].finish_reason == ("stop" if name == "brief" else "length")
        proof = reply.model_extra["mascing"]
        if mask is None:
            assert proof == {"mask": None, "digest": None, "tokens": "all", "steered_tokens": {}}
        else:
            predicting = reply.usage.completion_tokens - (name != "brief")  # the last one that the limit allows is not
            steered = reply.usage.prompt_tokens + predicting
            assert proof == {
                "mask": name,
                "digest": mask.digest,
                "tokens": "all",
                "steered_tokens": dict.fromkeys(LAYERS, steered),
            }


def test_a_mixed_batch_equals_separate_replies(server: Running) -> None:
    asked = [
        (text, mask, tokens, limit)
        for text, limit in zip(TEXTS, (8, 3), strict=True)
        for mask, tokens in (("none", "all"), ("defence", "all"), ("policy", "all"), ("policy", "reply"))
    ]

    def reply(text: str, mask: str, tokens: str, limit: int) -> tuple[str, Any]:
        answer = ask(server.client, text, mask=mask, tokens=tokens, max_tokens=limit, selected=1)
        proof = answer.model_extra["mascing"]
        computed = answer.usage.total_tokens - (answer.choices[0].finish_reason == "length")
        assert {layer: sum(counts) for layer, counts in proof["selected"].items()} == dict.fromkeys(
            LAYERS, 2 * computed
        )
        return answer.choices[0].message.content, proof

    alone = [reply(*one) for one in asked]
    with ThreadPoolExecutor(len(asked)) as pool:
        assert list(pool.map(lambda one: reply(*one), asked)) == alone


def test_selections_are_counted_where_no_mask_acts(server: Running) -> None:
    def counted() -> list[int]:
        return [sum(counts) for counts in server.served.batcher.selections.by_layer().values()]

    before = counted()
    ask(server.client, mask="defence")
    assert counted() == before
    usage = ask(server.client, mask="none").usage
    tokens = usage.prompt_tokens + usage.completion_tokens - 1
    assert [now - then for now, then in zip(counted(), before, strict=True)] == [2 * tokens] * len(LAYERS)


@pytest.mark.parametrize("name", ["none", "policy"])
def test_the_selections_of_a_reply_are_the_models_own(server: Running, name: str) -> None:
    proof = ask(server.client, TEXTS[1], mask=name, selected=1, max_tokens=1).model_extra["mascing"]
    loaded = olmoe_folder.loaded()
    ids_BT = torch.tensor([render(loaded.tokenizer, olmoe_folder.conversation("one", TEXTS[1])).token_ids])
    with steer(loaded.model, [server.masks.get(name)]), record(loaded.model) as trace, torch.inference_mode():
        loaded.model(ids_BT)
    of_layers = trace.selected[0].unbind(1)
    assert list(proof["selected"].values()) == [ids_TK.flatten().bincount(minlength=8).tolist() for ids_TK in of_layers]


def test_replies_under_the_masks_differ(server: Running) -> None:
    said = {ask(server.client, mask=name).choices[0].message.content for name in ("none", "defence", "policy")}
    assert len(said) == 3


def test_a_stream_gives_the_same_text_and_its_last_chunk_the_proof(server: Running) -> None:
    whole = ask(server.client, mask="defence", max_tokens=24)
    chunks = list(
        ask(server.client, mask="defence", max_tokens=24, stream=True, stream_options={"include_usage": True})
    )
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(pieces) == whole.choices[0].message.content
    assert sum(map(bool, pieces)) > 3
    assert chunks[-1].model_extra["mascing"] == whole.model_extra["mascing"]
    assert chunks[-1].usage == whole.usage
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-2:] == [None, "length"]


@pytest.mark.parametrize("tokens", ["prompt", "reply"])
def test_a_mask_for_a_part_acts_on_that_part(server: Running, tokens: str) -> None:
    reply = ask(server.client, mask="defence", tokens=tokens)
    parts = {"prompt": reply.usage.prompt_tokens, "reply": reply.usage.completion_tokens - 1}
    assert reply.model_extra["mascing"]["steered_tokens"] == dict.fromkeys(LAYERS, parts[tokens])


def test_a_stop_string_ends_the_reply_before_it_streamed_or_not(server: Running) -> None:
    text = ask(server.client, mask="policy", max_tokens=24).choices[0].message.content
    stop = next(text[at : at + 2] for at in range(4, len(text)) if "�" not in text[at : at + 2])
    reply = ask(server.client, mask="policy", max_tokens=24, stop=[stop]).choices[0]
    assert (reply.message.content, reply.finish_reason) == (text[: text.index(stop)], "stop")
    streamed = ask(server.client, mask="policy", max_tokens=24, stop=[stop], stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in streamed) == text[: text.index(stop)]


def test_a_seed_makes_a_sampled_reply_again(server: Running) -> None:
    said = [ask(server.client, temperature=1.5, seed=seed).choices[0].message.content for seed in (1, 1, 2)]
    assert said[0] == said[1] != said[2]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mask": "unheard"}, "holds no mask 'unheard'"),
        ({"mask": "defence", "tokens": "from:3"}, "all, prompt, reply"),
        ({"mask": "defence", "tokens": "some"}, "mascing_tokens is"),
        ({"extra_body": {"mascing_mask": "defence"}}, "belongs in vllm_xargs"),
        ({"metadata": {"mascing_mask": "defence"}}, "not read in metadata: it belongs in vllm_xargs"),
        ({"extra_query": {"mascing_mask": "defence"}}, "not read in the query string"),
        ({"extra_headers": {"mascing-mask": "defence"}}, "not read in a header"),
        ({"extra_body": {"vllm_xargs": {"mask": "defence"}}}, "no argument 'mask'"),
    ],
)
def test_what_masks_forbid_is_refused_with_a_reason_and_counted(
    server: Running, options: dict[str, Any], said: str
) -> None:
    assert counted_refusals(server, options, said) == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"extra_body": {"vllm_xargs": {"other": 1}}}, "mascing_selected alone, not 'other'"),
        ({"n": 2}, "n=2 is not supported"),
        ({"logprobs": True}, "logprobs=True is not supported"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "is not supported"),
        ({"max_tokens": 100_000}, "context is 512 tokens"),
        ({"text": " "}, "blank"),
    ],
)
def test_what_cannot_be_answered_is_refused_with_a_reason(server: Running, options: dict[str, Any], said: str) -> None:
    assert counted_refusals(server, options, said) == 0


def counted_refusals(server: Running, options: dict[str, Any], said: str) -> float:
    """How many refusals of requests are counted when the server refuses this one."""

    before = server.refused_requests
    with pytest.raises(openai.BadRequestError, match=said) as refused:
        ask(server.client, **options)
    assert refused.value.type == "invalid_request_error"
    return server.refused_requests - before


@pytest.mark.parametrize("depth", [150, 950, 200_000])
def test_a_body_that_is_nested_too_deep_is_refused(server: Running, depth: int) -> None:
    body = '{"messages": [{"role": "user", "content": "hello"}], "tools": ' + "[" * depth + "]" * depth + "}"
    refused = httpx.post(f"{server.url}/v1/chat/completions", content=body)
    assert refused.status_code == 400
    assert "no more than 100 lists and objects within each other" in refused.json()["error"]["message"]


def test_another_model_is_not_found(server: Running) -> None:
    with pytest.raises(openai.NotFoundError, match=f"this server has '{MODEL}'"):
        server.client.chat.completions.create(model="gpt", messages=[{"role": "user", "content": "hello"}])


def test_models_tell_the_masks(server: Running) -> None:
    [model] = server.client.models.list().data
    assert model.id == MODEL
    assert model.model_extra is not None
    assert model.model_extra["mascing"]["masks"] == {name: mask.digest for name, mask in server.masks.items()}
