"""Pace and retries without a server."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from random import Random

import pytest

from mascing.engines.openai import retrying
from mascing.engines.openai.answer import Completion, MalformedError
from mascing.engines.openai.client import retry_after
from mascing.engines.openai.pacing import Pacing
from mascing.engines.openai.retrying import RefusedError, Retrying
from mascing.errors import EndpointError
from mascing.schemas.settings.engine_settings import OpenAIEngine

CONFIG = OpenAIEngine(base_url="http://localhost/v1", model="m", patience=0.3)


def test_a_tenth_refused_at_random_does_not_slow_it_down() -> None:
    pacing, random = Pacing(64), Random(0)
    for _ in range(3000):
        pacing.ended(refused=random.random() < 0.1)
    assert pacing.limit == 64


def test_it_settles_near_the_slots_that_a_server_has() -> None:
    pacing, seen = Pacing(64), list[int]()
    for _ in range(400):
        limit = pacing.limit
        for place in range(limit):  # a round: those above the slots are refused
            pacing.ended(refused=place >= 20)
        seen.append(limit)
    assert 18 <= sum(seen[50:]) / len(seen[50:]) <= 28
    assert max(seen) <= 64


def test_a_server_that_refuses_all_is_asked_one_by_one() -> None:
    pacing = Pacing(64)
    for _ in range(1000):
        pacing.ended(refused=True)
    assert pacing.limit == 1


def test_no_more_than_the_limit_are_in_flight() -> None:
    async def peak() -> int:
        pacing, now, most = Pacing(3), 0, 0

        async def work(ticket: int) -> None:
            nonlocal now, most
            async with pacing.slot(ticket):
                now += 1
                most = max(most, now)
                await asyncio.sleep(0)
                now -= 1

        await asyncio.gather(*map(work, range(50)))
        return most

    assert asyncio.run(peak()) == 3


def test_what_the_server_asks_to_wait_is_waited() -> None:
    calls: list[float] = []

    async def send() -> str:
        calls.append(time.monotonic())
        if len(calls) == 1:
            raise RefusedError("429", after=0.15)
        return "answer"

    assert asyncio.run(Retrying(CONFIG).answer(send)) == "answer"
    assert 0.15 <= calls[1] - calls[0] < 0.45


def test_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "FIRST_PAUSE_SECONDS", 0.02)

    async def send() -> str:
        raise RefusedError("429: slow down")

    with pytest.raises(EndpointError, match=r"refused \d+ times, at last: 429: slow down"):
        asyncio.run(Retrying(CONFIG).answer(send))


def test_retry_after_is_read_in_all_its_forms() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert retry_after({"retry-after-ms": "250"}) == 0.25
    assert retry_after({"retry-after": "7"}) == 7
    assert 25 < (retry_after({"retry-after": soon}) or 0) <= 30
    assert retry_after({"retry-after": "later"}) is retry_after({}) is None


@pytest.mark.parametrize("body", ["", "<html>", "{}", '{"choices": []}', '{"choices": [{"message": 3}]}', "null"])
def test_what_is_no_completion_is_malformed(body: str) -> None:
    with pytest.raises(MalformedError):
        Completion.read(body)
