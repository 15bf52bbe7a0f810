"""An OpenAI-compatible endpoint: ask it, from any thread or event loop, and pay each request once."""

import asyncio
import os
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Required, TypedDict, Unpack

from mascing.engines.engine import Usage
from mascing.engines.openai.answer import ChatAnswer, Completion
from mascing.engines.openai.client import Client
from mascing.engines.openai.finishing import finished, overheard
from mascing.engines.openai.ledger import Amount
from mascing.engines.openai.retrying import DeniedError, FailedError, RefusedError, Retrying
from mascing.engines.openai.spending import Hold, Spending, amount, cost, most_prompt_tokens
from mascing.engines.openai.stored_answers import PaidAnew, StoredAnswers
from mascing.errors import EndpointError, MascingError, RequestError
from mascing.schemas.settings.engine_settings import OpenAIEngine
from mascing.storage.fingerprint import fingerprint
from mascing.storage.object_storage import Storage

_opening = threading.Lock()
_open: dict[tuple[OpenAIEngine, str | None, type, int], "Endpoint"] = {}


def endpoint(config: OpenAIEngine, storage: Storage | None) -> "Endpoint":
    """The one Endpoint of this process for a config and a storage: all who ask it share its pace and its budget.

    One that was closed is replaced.
    """
    # A forked process has the objects of its parent, but not their threads.
    key = (config, storage.url if storage is not None else None, type(storage), os.getpid())
    with _opening:
        if key not in _open or _open[key].closed:
            _open[key] = Endpoint(config, storage)
        return _open[key]


def spent_here() -> Amount:
    """What the answers took that this process asked for, at all endpoints; stored answers take nothing."""
    with _opening:
        return sum((each.spent for each in _open.values()), Amount())


class Options(TypedDict, total=False):
    """How a request is answered.

    ``max_tokens`` must be given. ``response_format`` is passed on as it is. ``logprobs`` asks for so many likeliest
    tokens at each place. At a ``temperature`` above 0 ``draw`` names the sample: equal requests with equal draws have
    one answer.
    """

    max_tokens: Required[int]
    temperature: float
    response_format: Mapping[str, Any] | None
    logprobs: int | None
    draw: str


class Endpoint:
    """Asks one model at one endpoint.

    It works in an event loop of its own thread, so that all callers, in whatever loops, share its connections, its pace
    and its budget. With a ``storage`` every paid answer is stored at once, and an equal request is answered from there;
    equal requests in flight are sent once. The budget is that of all who share the storage, or of this object where
    there is none.
    """

    def __init__(self, config: OpenAIEngine, storage: Storage | None = None) -> None:
        """Raises ConfigError if the package `openai` or the key is missing."""
        self._config = config
        keeping = None if isinstance(storage, PaidAnew) else storage
        self._stored = StoredAnswers(keeping, config) if keeping is not None else None
        self._client = Client(config)
        self._retrying = Retrying(config)
        self._spending = Spending(config, storage)
        self._asked: dict[str, _Asked] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="mascing-endpoint", daemon=True)
        self._thread.start()

    @property
    def closed(self) -> bool:
        """Whether it answers no more."""
        return self._loop.is_closed()

    @property
    def spent(self) -> Amount:
        """What the answers that this object asked for took so far."""
        return self._spending.spent

    async def chat(self, messages: Sequence[Mapping[str, str]], **options: Unpack[Options]) -> ChatAnswer:
        """The answer to ``messages``, each with ``role`` and ``content``.

        Raises RequestError if this request is not answered while others are, BudgetError if it could take more than is
        left of the budget, and EndpointError if nothing can be had from the endpoint.
        """
        return await asyncio.wrap_future(self.ask(messages, **options))

    def ask(self, messages: Sequence[Mapping[str, str]], **options: Unpack[Options]) -> Future[ChatAnswer]:
        """Begin to ask, and return at once; the future's result is what :meth:`chat` returns or raises."""
        if self.closed:
            raise EndpointError(f"{self._config.base_url} was closed: open it anew")
        body, draw, most = self._request(messages, **options)
        return asyncio.run_coroutine_threadsafe(self._once(body, draw, most), self._loop)

    def close(self) -> None:
        """End what is in flight, and the thread; a second time it does nothing."""
        if self.closed:
            return
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        in_flight = asyncio.all_tasks() - {asyncio.current_task()}
        for task in in_flight:
            task.cancel()
        await asyncio.gather(*in_flight, return_exceptions=True)
        await self._client.close()

    def _request(
        self,
        messages: Sequence[Mapping[str, str]],
        *,
        max_tokens: int,
        temperature: float = 0.0,
        response_format: Mapping[str, Any] | None = None,
        logprobs: int | None = None,
        draw: str = "",
    ) -> tuple[dict[str, Any], str, Amount]:
        """The body of a request, the name of its draw, and what it can take at most."""
        if not all(_is_unicode(message["content"]) for message in messages):
            raise RequestError("a message holds half of a surrogate pair, which no request can: mend its text")
        body: dict[str, Any] = {
            "model": self._config.model,
            "messages": [{"role": message["role"], "content": message["content"]} for message in messages],
            self._config.token_limit: max_tokens,
            "temperature": temperature,
        }
        if response_format is not None:
            body["response_format"] = dict(response_format)
        if logprobs is not None:
            body |= {"logprobs": True, "top_logprobs": logprobs}
        most = amount(self._config.prices, most_prompt_tokens(messages), max_tokens)
        return body, draw if temperature > 0 else "", most

    async def _once(self, body: dict[str, Any], draw: str, most: Amount) -> ChatAnswer:
        """The stored answer, that of an equal request in flight, or a new one."""
        request = {"body": body, "draw": draw}
        name = fingerprint(request)
        if name not in self._asked:
            self._asked[name] = _Asked(overheard(self._answer(request, most)))
        asked = self._asked[name]
        try:
            with asked:
                return await asyncio.shield(asked.task)
        finally:
            if not asked.waiting:
                self._asked.pop(name, None)
                asked.task.cancel()

    async def _answer(self, request: dict[str, Any], most: Amount) -> ChatAnswer:
        if self._stored is not None and (found := await asyncio.to_thread(self._stored.get, request)) is not None:
            return found
        return await self._retrying.answer(lambda: self._paid(request, most))

    async def _paid(self, request: dict[str, Any], most: Amount) -> ChatAnswer:
        """Send the request once, as soon as the budget has room for it; nobody's cancelling loses what was sent."""
        return await finished(self._sent(request, await self._spending.hold(most)))

    async def _sent(self, request: dict[str, Any], hold: Hold) -> ChatAnswer:
        """Send the request, and store its answer as soon as it is there."""
        async with self._spending.settling(hold):
            began = time.monotonic()
            try:
                response = await self._client.send(request["body"])
            except FailedError as failed:
                if not failed.perhaps_paid:
                    hold.took(Amount())
                raise
            except (RefusedError, DeniedError, MascingError):
                hold.took(Amount())
                raise
            usage = self._usage(Completion.read(response), hold.most, time.monotonic() - began)
            hold.took(Amount(usage.prompt_tokens + usage.completion_tokens, usage.cost or 0.0))
        if self._stored is None:
            return Completion.read(response).answer(usage)
        return await asyncio.to_thread(self._stored.put, request, response, usage)

    def _usage(self, completion: Completion, most: Amount, seconds: float) -> Usage:
        """What an answer took; one whose server does not say so counts as the most that it could take."""
        said = completion.usage
        if said is None:
            return Usage(most.tokens, 0, most.dollars if self._config.prices else None, seconds)
        price = cost(self._config.prices, said.prompt_tokens, said.completion_tokens)
        return Usage(said.prompt_tokens, said.completion_tokens, price, seconds)


class _Asked:
    """A request that is being answered, and how many wait for it; who waits stands inside it."""

    def __init__(self, task: asyncio.Task[ChatAnswer]) -> None:
        self.task = task
        self.waiting = 0

    def __enter__(self) -> None:
        self.waiting += 1

    def __exit__(self, *_: object) -> None:
        self.waiting -= 1


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
