"""A fake OpenAI endpoint over real HTTP: it answers chat completions, limits their rate, and fails as it is told.

Whether a request fails depends on the seed, on what is asked and on how often that was asked before, and not on the
order in which requests arrive.
"""

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest
from aiohttp import web

KEY = "sk-fake-0123456789abcdef"
HANG_SECONDS = 3600.0
"""A hanging request is held until its client gives up."""


@dataclass(frozen=True)
class Faults:
    """Shares of the requests that end otherwise than they should.

    ``refused`` get 429 (with ``retry_after`` if it is not None), ``errors`` 500, ``hangs`` nothing, ``broken`` a body
    of broken JSON, and ``garbled`` a whole response whose message is not what was asked for.
    """

    refused: float = 0
    errors: float = 0
    hangs: float = 0
    broken: float = 0
    garbled: float = 0
    retry_after: float | None = None
    seed: int = 0


def echo(asked: dict[str, Any]) -> str:
    """The default reply: the last message again."""
    return str(asked["messages"][-1]["content"])


@dataclass
class FakeEndpoint:
    """What the endpoint does and what it has seen; its settings may be changed while it runs.

    ``reply`` makes of a request's body the content of the message, or the whole message; where it raises ValueError the
    request gets 400. ``per_second`` requests are admitted in a second and ``slots`` at once, the others get 429.
    ``credit`` is how many are answered before none is any more. ``answered`` counts the whole answers by what was
    asked, as JSON; ``statuses`` what became of the requests.
    """

    reply: Callable[[dict[str, Any]], str | dict[str, Any]] = echo
    faults: Faults = Faults()
    per_second: float | None = None
    slots: int | None = None
    latency: float = 0.0
    credit: int | None = None
    key: str | None = None
    model: str = "fake-judge"
    url: str = ""
    answered: Counter[str] = field(default_factory=Counter)
    garbled: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    asked: Counter[str] = field(default_factory=Counter)
    in_flight: int = 0
    peak: int = 0
    _allowance: float = 1.0
    _filled: float = field(default_factory=time.monotonic)

    @property
    def paid_twice(self) -> list[str]:
        """What was answered more than once."""
        return [asked for asked, times in self.answered.items() if times > 1]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        status, response = await self._respond(request)
        self.statuses[status] += 1
        return response

    async def _respond(self, request: web.Request) -> tuple[str, web.StreamResponse]:
        if self.key is not None and request.headers.get("Authorization") != f"Bearer {self.key}":
            told = f"Incorrect API key provided: {request.headers.get('Authorization', '')}"
            return "401", _error(401, told, "invalid_api_key")
        body = await request.json()
        if body.get("model") != self.model:
            return "404", _error(404, f"The model `{body.get('model')}` does not exist", "model_not_found")
        if self.credit is not None and self.answered.total() >= self.credit:
            return "429 without credit", _error(429, "You exceeded your current quota", "insufficient_quota")
        content = json.dumps(body, sort_keys=True)
        times = self.asked[content]
        self.asked[content] += 1
        draw = Random(f"{self.faults.seed}:{times}:{content}").random()
        faults = self.faults
        if draw < faults.refused:
            return "429", _error(429, "Rate limit reached", "rate_limit_exceeded", faults.retry_after)
        if not self._admitted():
            return "429 over the limit", _error(429, "Rate limit reached", "rate_limit_exceeded", faults.retry_after)
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        try:
            return await self._served(body, content, draw - faults.refused)
        finally:
            self.in_flight -= 1

    async def _served(self, body: dict[str, Any], content: str, draw: float) -> tuple[str, web.StreamResponse]:
        faults = self.faults
        if 0 <= draw - faults.errors < faults.hangs:
            self.statuses["hang"] += 1  # now: a client that gives up does not wait until it is noticed here
            await asyncio.sleep(HANG_SECONDS)
        await asyncio.sleep(self.latency)
        if draw < faults.errors:
            return "500", _error(500, "The server had an error", "server_error")
        draw -= faults.errors + faults.hangs
        if draw < faults.broken:
            return "broken", web.Response(text='{"choices": [{"mess', content_type="application/json")
        try:
            said = self.reply(body)
        except ValueError as error:
            return "400", _error(400, str(error), "invalid_request_error")
        if draw - faults.broken < faults.garbled:
            said = '{"verdict": '
            self.garbled[content] += 1
        self.answered[content] += 1
        return "200", web.json_response(completion(body, said))

    def _admitted(self) -> bool:
        if self.slots is not None and self.in_flight >= self.slots:
            return False
        if self.per_second is None:
            return True
        now = time.monotonic()
        self._allowance = min(max(1.0, self.per_second), self._allowance + (now - self._filled) * self.per_second)
        self._filled = now
        if self._allowance < 1:
            return False
        self._allowance -= 1
        return True


def completion(body: dict[str, Any], said: str | dict[str, Any]) -> dict[str, Any]:
    """A chat completion; a token is a word. A reply of more than the limit's words is cut off."""
    message = {"role": "assistant", **({"content": said} if isinstance(said, str) else said)}
    words = str(message.get("content") or "").split(" ")
    limit = body.get("max_tokens") or body.get("max_completion_tokens") or len(words)
    if cut := len(words) > limit:
        message["content"] = " ".join(words[:limit])
    asked = sum(len(str(turn["content"]).split()) for turn in body["messages"])
    return {
        "id": "chatcmpl-0",
        "object": "chat.completion",
        "created": 0,
        "model": body["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": "length" if cut else "stop"}],
        "usage": {
            "prompt_tokens": asked,
            "completion_tokens": min(len(words), limit),
            "total_tokens": asked + min(len(words), limit),
        },
    }


def _error(status: int, message: str, code: str, retry_after: float | None = None) -> web.Response:
    headers = {} if retry_after is None else {"Retry-After": f"{retry_after:g}"}
    return web.json_response(
        {"error": {"message": message, "type": code, "code": code, "param": None}}, status=status, headers=headers
    )


@contextmanager
def running_endpoint(**settings: Any) -> Iterator[FakeEndpoint]:
    """A fake endpoint at a free port of this machine, in a thread of its own."""
    fake = FakeEndpoint(**settings)
    loop, ready = asyncio.new_event_loop(), Future[web.AppRunner]()

    async def start() -> web.AppRunner:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", fake.handle)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        return runner

    def run() -> None:
        asyncio.set_event_loop(loop)
        ready.set_result(loop.run_until_complete(start()))
        loop.run_forever()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    runner = ready.result()
    try:
        yield fake
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture
def fake_endpoint() -> Iterator[Callable[..., FakeEndpoint]]:
    """Start a fake endpoint with these settings; it ends with the test."""
    with ExitStack() as running:

        def start(**settings: Any) -> FakeEndpoint:
            return running.enter_context(running_endpoint(**settings))

        yield start
