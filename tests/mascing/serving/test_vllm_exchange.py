"""What the front of vLLM does without vLLM: one decision for an exchange, salts that keep masks apart, and proofs."""

import asyncio
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import torch
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from mascing.errors import MaskError, SteeringError
from mascing.masks.mask import Mask
from mascing.serving.choice import Choice, Span
from mascing.serving.held_masks import HeldMasks
from mascing.serving.mask_table import MaskTable
from mascing.serving.metrics import ServingMetrics
from mascing.serving.vllm_plugin.front.admission import bind
from mascing.serving.vllm_plugin.front.exchange import EXCHANGE, Entry, Exchange
from mascing.serving.vllm_plugin.front.proofs import Proofs, Steered, check
from mascing.serving.vllm_plugin.front.replies import Replies
from tests.mascing.made_cards import SPEC, a_mask

MASK = a_mask("one")


def a_table(*names: str) -> MaskTable:
    table = MaskTable(SPEC, 3)
    for name in names:
        table.publish(name, table.reserve(a_mask(name))[0])
    return table


a_carrier: Any = None  # nothing is loaded here


def a_request(salt: str | None = None, **arguments: str) -> Any:
    sampling = SimpleNamespace(extra_args=arguments or None, n=1)
    return SimpleNamespace(sampling_params=sampling, cache_salt=salt, prompt_token_ids=[1, 2, 3], prompt_embeds=None)


def test_an_exchange_keeps_its_mask_through_a_swap_and_frees_it_at_its_end() -> None:
    table = a_table("one", "two")
    table.make_default("one")
    exchange = Exchange()
    with exchange.held():
        first = exchange.admit(table, Choice())
        table.make_default("two")
        table.withdraw("one")
        with exchange.held():
            assert exchange.admit(table, Choice()) == first
        assert table.mask_in(first.slot) == a_mask("one")
    with pytest.raises(KeyError):
        table.mask_in(first.slot)
    with exchange.held():  # what goes on after the reply was sent is decided anew
        assert exchange.admit(table, Choice()).name == "two"


def test_the_engine_may_end_after_the_http_request() -> None:
    table, exchange = a_table("one"), Exchange()
    http, engine = exchange.held(), exchange.held()
    http.__enter__()
    engine.__enter__()
    slot = exchange.admit(table, Choice("one")).slot
    table.withdraw("one")
    http.__exit__(None, None, None)
    assert table.mask_in(slot) == MASK
    engine.__exit__(None, None, None)
    with pytest.raises(KeyError):
        table.mask_in(slot)


def test_a_choice_that_a_route_lost_is_refused() -> None:
    with pytest.raises(MaskError, match="neither beam search nor"):
        Exchange(Choice("one")).admit(a_table("one"), Choice())


def test_no_salt_of_another_mask_part_or_client_is_the_same() -> None:
    admission = a_table("one").admit(Choice("one"))
    other = a_table("two").admit(Choice("two"))
    salts = []
    for admitted, span, salt in (
        (admission, Span(0, None), None),
        (other, Span(0, None), None),
        (admission, Span(0, 3), None),
        (admission, Span(3, None), None),
        (admission, Span(0, None), "0-3"),
        (admission, Span(0, None), ":0-3"),
        (admission, Span(0, 3), "a"),
    ):
        request = a_request(salt)
        bind(request, admitted, span)
        salts.append(request.cache_salt)
    assert len(set(salts)) == len(salts)
    assert all(salt.startswith("mascing:") for salt in salts)


def test_what_is_bound_is_told_to_the_workers_and_changes_nothing_of_the_client() -> None:
    admission, request = a_table("one").admit(Choice("one")), a_request(mascing_mask="one", other="1")
    given = request.sampling_params.extra_args
    bind(request, admission, Span(1, None))
    told = {"slot": 1, "digest": MASK.digest, "start": 1, "stop": None, "selected": False}
    assert request.sampling_params.extra_args == {"other": "1", "mascing": told}
    assert given == {"mascing_mask": "one", "other": "1"}
    plain = a_request("mine", mascing_mask="none")
    bind(plain, a_table().admit(Choice("none")), Span(0, None))
    assert (plain.cache_salt, plain.sampling_params.extra_args) == ("mine", None)
    with pytest.raises(MaskError, match="cannot begin with"):
        bind(a_request("mascing:x"), admission, Span(0, None))


@pytest.mark.parametrize(
    ("steered", "cached", "span", "computed", "holds"),
    [
        (5, 0, Span(0, None), 5, True),
        (4, 0, Span(0, None), 5, False),
        (4, 1, Span(0, None), 5, True),
        (3, 0, Span(0, 3), 5, True),
        (1, 0, Span(3, None), 5, False),
        (0, 0, Span(9, None), 5, True),
        (0, 0, Span(0, None), 0, True),
    ],
)
def test_a_layer_that_steered_too_little_is_told(
    steered: int, cached: int, span: Span, computed: int, holds: bool
) -> None:
    proof = Steered({0: steered}, cached)
    if holds:
        check(MASK, proof, span, computed)
    else:
        with pytest.raises(SteeringError, match="layer 0 steered"):
            check(MASK, proof, span, computed)


def test_a_layer_that_the_mask_leaves_alone_needs_no_proof() -> None:
    spec = type(SPEC)(**{**vars(SPEC), "layer_ids": (0, 1)})
    mask = Mask.from_bias(torch.tensor([[0.0] * 4, [1.0] * 4]), spec)
    check(mask, Steered({0: 0, 1: 5}, 0), Span(0, None), 5)


def test_questions_of_one_turn_are_one_call_and_all_workers_must_have_steered() -> None:
    calls: list[dict[str, int]] = []

    async def ask(lengths: dict[str, int]) -> list[dict[str, dict[str, Any]]]:
        calls.append(lengths)
        return [{i: {"steered": {0: n, 1: 9}, "cached": n, "selected": {}} for i in lengths} for n in (5, 4)]

    async def both() -> list[list[Steered]]:
        proofs = Proofs(ask)
        given_up = asyncio.create_task(proofs.of({"c": 1}))
        asking = asyncio.gather(proofs.of({"a": 2}), proofs.of({"b0": 3, "b1": 4}))
        await asyncio.sleep(0)
        given_up.cancel()
        return list(await asking)

    assert asyncio.run(both()) == [[Steered({0: 4, 1: 9}, 4)], [Steered({0: 4, 1: 9}, 4)] * 2]
    assert calls == [{"a": 2, "b0": 3, "b1": 4, "c": 1}]


def test_a_reply_that_was_given_up_before_it_was_computed_takes_no_selections_from_the_others() -> None:
    exchange = Exchange()
    admission = exchange.admit(a_table("one"), Choice("one", selected=True))
    given: list[list[dict[int, list[int]]]] = [[{}], [{0: [1, 2]}, {}], [{0: [3, 0]}]]
    entries = [Entry(admission, selected=selected) for selected in given]
    for entry in entries:
        entry.steered = {0: 3}
    assert exchange.in_force(entries).selected == {"0": [4, 2]}
    assert exchange.in_force(entries[:1]).selected == {}


def an_app(answer: Callable[[], Response]) -> FastAPI:
    app, table = FastAPI(), a_table("one")
    app.state.held = HeldMasks(table, a_carrier, ServingMetrics(table))
    app.add_middleware(Replies, held=lambda: app.state.held)

    @app.post("/")
    async def reply(request: Request) -> Response:
        exchange = EXCHANGE.get()
        assert exchange is not None
        await request.body()
        if exchange.asked == Choice("one"):
            table.withdraw("one")  # as a hot swap does between admission and the engine
        entry = Entry(admission=exchange.admit(table, exchange.asked or Choice()))
        exchange.entries.append(entry)
        entry.steered = {0: 7}
        return answer()

    return app


def posted(app: FastAPI, body: Any, **options: Any) -> httpx.Response:
    async def post() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            return await client.post("/", json=body, **options)

    return asyncio.run(post())


IN_FORCE = {"mask": "one", "digest": MASK.digest, "tokens": "all", "steered_tokens": {"0": 7}}
ASKED = {"vllm_xargs": {"mascing_mask": "one"}}


def test_an_object_tells_what_was_in_force() -> None:
    reply = posted(an_app(lambda: JSONResponse({"text": "ä"})), ASKED)
    assert reply.json() == {"text": "ä", "mascing": IN_FORCE}
    assert posted(an_app(lambda: JSONResponse([1])), ASKED).json() == [1]
    assert posted(an_app(lambda: JSONResponse({"error": 1}, 500)), ASKED).json() == {"error": 1}


def test_the_last_object_of_a_stream_tells_it() -> None:
    events = ['data: {"n":1}\n\n', 'event: last\ndata: {"n":2}\n\n', "data: [DONE]\n\n"]
    reply = posted(an_app(lambda: StreamingResponse(iter(events), media_type="text/event-stream")), ASKED)
    told = f'{{"n":2,"mascing":{json.dumps(IN_FORCE, separators=(",", ":"))}}}'
    assert reply.text == f'data: {{"n":1}}\n\nevent: last\ndata: {told}\n\ndata: [DONE]\n\n'


XARGS = "vllm_xargs"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"mascing_mask": "one"}, "not read in the body: it belongs in vllm_xargs"),
        ({"Mascing-Mask": "one"}, "not read in the body"),
        ({"mascing_tokens": "reply"}, "mascing_tokens is not read in the body"),
        ({"extra_body": {XARGS: {"mascing_mask": "one"}}}, "not read in extra_body.vllm_xargs"),
        ({"extra_args": {"mascing_mask": "one"}, XARGS: {"mascing_mask": "one"}}, "not read in extra_args"),
        ({"messages": [{"metadata": {"MASCING_MASK": "one"}}]}, "not read in messages.0.metadata"),
        ({XARGS: {"more": {"mascing_mask": "one"}}}, "not read in vllm_xargs.more"),
        ({XARGS: [{"mascing_mask": "one"}]}, "not read in vllm_xargs.0"),
        ({XARGS: {"mascing_masks": "one"}}, "no argument 'mascing_masks': it may have mascing_mask"),
        ({XARGS: {"Mascing_mask": "one"}}, "no argument 'Mascing_mask'"),
        ({XARGS: {"mask": "one"}}, "no argument 'mask'"),
        ({XARGS: {"masking_mask": "one"}}, "no argument 'masking_mask'"),
        ({"mascing": {"mask": "one"}}, "mascing is what a reply says; a request asks by"),
        ({"Mascing": "one"}, "mascing is what a reply says"),
        ({"input": "hi", "background": True}, "leave `background` out"),
        ({XARGS: {"mascing_mask": json.loads("[" * 200 + "]" * 200)}}, "no more than 100 lists and objects"),
    ],
)
def test_a_choice_in_the_wrong_place_is_refused(body: Any, said: str) -> None:
    reply = posted(an_app(lambda: JSONResponse({})), body)
    assert reply.status_code == 400
    assert said in reply.json()["error"]["message"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({XARGS: {"mascing_mask": "two"}}, "holds no mask 'two'"),
        ({XARGS: {"mascing_tokens": "some"}}, "mascing_tokens is"),
        ({XARGS: {"mascing_mask": "one"}, "use_beam_search": True}, "neither beam search nor"),
        ({"cache_salt": "mascing:1"}, "cache_salt cannot begin"),
    ],
)
def test_what_masks_forbid_is_refused_before_a_stream_begins_and_counted(body: Any, said: str) -> None:
    app = an_app(lambda: StreamingResponse(iter(["data: {}"]), media_type="text/event-stream"))
    reply = posted(app, {"stream": True} | body)
    assert (reply.status_code, reply.json()["error"]["type"]) == (400, "invalid_request_error")
    assert said in reply.json()["error"]["message"]
    assert 'mascing_refusals_total{reason="request"} 1.0' in app.state.held.metrics.text().decode()


def test_a_choice_beside_the_body_is_refused() -> None:
    app = an_app(lambda: JSONResponse({}))
    for said, options in {
        "the query string": {"params": {"mascing_mask": "one"}},
        "a header": {"headers": {"X-Mascing-Mask": "one"}},
    }.items():
        assert said in posted(app, {}, **options).json()["error"]["message"]


def test_a_choice_is_found_where_its_letters_are_escaped_and_text_is_none() -> None:
    app = an_app(lambda: JSONResponse({}))
    escaped = '{"\\u006dascing_mask": "one"}'
    headers = {"content-type": "Application/JSON; charset=utf-8"}
    for content in escaped, json.dumps({"metadata": {"mascing_mask": "one"}}).encode("utf-16"):
        assert posted(app, None, content=content, headers=headers).status_code == 400
    assert posted(app, {"messages": [{"content": "what is mascing_mask?"}], XARGS: {"k": 1}}).status_code == 200
