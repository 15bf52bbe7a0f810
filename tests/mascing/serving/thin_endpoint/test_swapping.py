"""Masks change while sixteen clients ask: every reply is that of one mask, which it names."""

from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from threading import Event
from typing import Any

import httpx
import openai
import pytest

from mascing.steering.steer import Steering
from tests.mascing.serving.running import TOKEN, Running, ask

CLIENTS, SWAPS = 16, 200


def test_two_hundred_swaps_under_load_fail_no_request_and_mix_no_masks(server: Running) -> None:
    names = ("defence", "policy")
    expected = {server.masks[name].digest: ask(server.client, mask=name).choices[0].message.content for name in names}
    over = Event()
    server.control("PUT", "default", {"name": "policy"})

    def keep_asking() -> list[Any]:
        replies = []
        with server.client as client:
            while not over.is_set():
                replies.append(ask(client))
        return replies

    with ThreadPoolExecutor(CLIENTS) as pool:
        asking = [pool.submit(keep_asking) for _ in range(CLIENTS)]
        try:
            with httpx.Client(headers={"Authorization": f"Bearer {TOKEN}"}) as control:
                for _, name in zip(range(SWAPS), cycle(names), strict=False):
                    swap = control.put(f"{server.url}/mascing/default", json={"name": name})
                    assert swap.json()["default"] == name
        finally:
            over.set()
        replies = [reply for client in asking for reply in client.result()]
    proofs = [(reply.model_extra["mascing"], reply) for reply in replies]
    assert all(reply.choices[0].message.content == expected[proof["digest"]] for proof, reply in proofs)
    assert {proof["mask"] for proof, _ in proofs} == set(names)
    assert len(replies) > CLIENTS
    server.control("PUT", "default", {"name": "none"})
    assert ask(server.client).model_extra["mascing"]["digest"] is None


def test_a_reply_that_was_not_steered_as_it_should_be_is_an_error(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Steering, "counters", property(lambda handle: {0: 0, 1: 0, 2: 0}))
    with pytest.raises(openai.InternalServerError, match="should have acted on"):
        ask(server.client, mask="defence")
    with pytest.raises(openai.APIError, match="should have acted on"):
        list(ask(server.client, mask="defence", stream=True))
