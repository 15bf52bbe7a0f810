"""vLLM's server with masks, by the real client: each reply under the mask it asked for, and says so."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest
import torch

from mascing.masks.mask import Mask
from tests.mascing.serving.vllm_plugin.started_vllm import LAYERS, Running, ask, masks, spec, started

pytest.importorskip("vllm")

MASKS = masks(6)
SWAPS, CLIENTS = 200, 16


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("served")
    for number, mask in enumerate(MASKS):
        mask.save(folder / f"{number}.safetensors")
    with started(folder, {"defence": folder / "0.safetensors", "policy": folder / "1.safetensors"}) as running:
        yield running


def proof(reply: Any) -> Any:
    return reply.model_extra["mascing"]


def text(reply: Any) -> str:
    return str(reply.choices[0].message.content)


def test_each_reply_is_under_the_mask_it_asked_for_and_says_so(server: Running) -> None:
    said = {}
    for name, mask in {"none": None, "defence": MASKS[0], "policy": MASKS[1]}.items():
        reply = ask(server.client, mask=name)
        said[text(reply)] = name
        if mask is None:
            assert proof(reply) == {"mask": None, "digest": None, "tokens": "all", "steered_tokens": {}}
        else:
            steered = reply.usage.total_tokens - 1  # the last one predicts none
            counted = dict.fromkeys(LAYERS, steered)
            assert proof(reply) == {"mask": name, "digest": mask.digest, "tokens": "all", "steered_tokens": counted}
    assert len(said) == 3
    assert text(ask(server.client, mask=MASKS[0].digest[:12])) == next(t for t, name in said.items() if name == "defence")


def test_a_stream_gives_the_same_text_and_its_last_chunk_the_proof(server: Running) -> None:
    whole = ask(server.client, "a stream", mask="defence")
    for options in ({}, {"stream_options": {"include_usage": True}}):
        chunks = list(ask(server.client, "a stream", mask="defence", stream=True, **options))
        pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
        assert "".join(pieces) == text(whole)
        assert len(pieces) > 6
        assert ["mascing" in (chunk.model_extra or {}) for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
        assert proof(chunks[-1])["digest"] == MASKS[0].digest


@pytest.mark.parametrize("tokens", ["prompt", "reply", "from:5"])
def test_a_mask_for_a_part_acts_on_that_part(server: Running, tokens: str) -> None:
    reply = ask(server.client, f"part {tokens}", mask="defence", tokens=tokens)
    prompt, made = reply.usage.prompt_tokens, reply.usage.completion_tokens - 1
    expected = {"prompt": prompt, "reply": made, "from:5": prompt + made - 5}
    assert proof(reply)["steered_tokens"] == dict.fromkeys(LAYERS, expected[tokens])


def test_every_way_of_asking_is_steered_or_refused(server: Running) -> None:
    client, xargs = server.client, {"mascing_mask": "policy"}
    alone = text(ask(client, "many", mask="policy"))
    several = ask(client, "many", mask="policy", n=2, temperature=0.001, seed=1)
    assert [choice.message.content for choice in several.choices] == [alone, alone]
    fixed = {"model": "tiny", "max_tokens": 8, "temperature": 0}
    batch = client.completions.create(prompt=["one", "two"], extra_body={"vllm_xargs": xargs}, **fixed)
    assert proof(batch)["steered_tokens"] == dict.fromkeys(LAYERS, batch.usage.total_tokens - 2)
    response = client.responses.create(model="tiny", input="hello", max_output_tokens=8, extra_body={"vllm_xargs": xargs})
    assert response.model_extra["mascing"]["digest"] == MASKS[1].digest
    with pytest.raises(openai.BadRequestError, match="leave beam search out"):
        ask(client, mask="policy", n=2, extra_body={"use_beam_search": True})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mask": "unheard"}, "holds no mask 'unheard': it holds"),
        ({"mask": "defence", "tokens": "some"}, "mascing_tokens is"),
        ({"extra_body": {"mascing_mask": "defence"}}, "belongs into vllm_xargs"),
        ({"extra_body": {"vllm_xargs": {"mascing": "1"}}}, "no argument 'mascing'"),
        ({"extra_body": {"cache_salt": "mascing:1"}}, "cache_salt cannot begin"),
    ],
)
def test_what_cannot_be_steered_as_asked_is_refused(server: Running, options: dict[str, Any], said: str) -> None:
    with pytest.raises(openai.BadRequestError, match=said):
        ask(server.client, **options)


def test_a_foreign_mask_is_refused_and_counted(server: Running) -> None:
    made = spec()
    other = Mask.from_bias(torch.ones(made.n_layers, 4), type(made)(**{**vars(made), "n_experts": 4}))
    other.save(server.folder / "other.safetensors")
    refused = server.control("POST", "masks", {"name": "other", "url": str(server.folder / "other.safetensors")})
    assert refused.status_code == 400
    assert server.metric('mascing_refusals_total{reason="control"}') == 1
    assert server.control("GET", "masks", token=None).status_code == 401


def test_the_default_steers_who_asks_for_none(server: Running) -> None:
    asked = text(ask(server.client, "default", mask="defence"))
    assert server.control("PUT", "default", {"name": "defence"}).status_code == 200
    try:
        reply = ask(server.client, "default")
        assert (text(reply), proof(reply)["mask"]) == (asked, "defence")
        beams = ask(server.client, "default", n=2, extra_body={"use_beam_search": True})
        assert proof(beams)["digest"] == MASKS[0].digest
        assert server.metric(f'mascing_default_mask{{digest="{MASKS[0].digest}",mask="defence"}}') == 1
    finally:
        server.control("PUT", "default", {"name": "none"})
    assert proof(ask(server.client, "default"))["digest"] is None


def test_two_hundred_hot_swaps_under_load_mix_no_reply(server: Running) -> None:
    """Each swap writes another mask under the name of the default, while sixteen clients ask for nothing in
    particular."""
    path = {mask.digest: str(server.folder / f"{number}.safetensors") for number, mask in enumerate(MASKS)}
    expected = {}
    for digest in path:
        assert server.control("POST", "masks", {"name": "hot", "url": path[digest]}).status_code == 200
        expected[digest] = text(ask(server.client, "under load", mask="hot"))
    assert len(set(expected.values())) == len(MASKS)
    assert server.control("PUT", "default", {"name": "hot"}).status_code == 200
    before, done = server.metric("mascing_swaps_total"), threading.Event()

    def client(number: int) -> list[tuple[str, str]]:
        seen, client = [], server.client
        while not done.is_set():
            if number % 2:
                reply = ask(client, "under load")
                seen.append((proof(reply)["digest"], text(reply)))
            else:
                chunks = list(ask(client, "under load", stream=True))
                said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
                seen.append((proof(chunks[-1])["digest"], said))
        return seen

    with ThreadPoolExecutor(CLIENTS) as pool:
        running = [pool.submit(client, number) for number in range(CLIENTS)]
        try:
            for swap in range(SWAPS):
                digest = MASKS[swap % len(MASKS)].digest
                assert server.control("POST", "masks", {"name": "hot", "url": path[digest]}).status_code == 200
        finally:
            done.set()
        replies = [reply for one in running for reply in one.result()]
    assert server.control("PUT", "default", {"name": "none"}).status_code == 200
    assert server.metric("mascing_swaps_total") - before >= SWAPS
    assert len(replies) >= SWAPS / 2
    assert {digest for digest, _ in replies} == set(path)
    assert [reply for reply in replies if expected[reply[0]] != reply[1]] == []
    held = server.control("GET", "masks").json()["masks"]
    assert {mask["name"] for mask in held} == {"defence", "policy", "hot"}
