"""When a request is sent again: after a refusal for its rate as long as patience lasts, after a failure a few times."""

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from mascing.engines.openai.pacing import Pacing
from mascing.errors import EndpointError, RequestError
from mascing.schemas.settings.engine_settings import OpenAIEngine

Value = TypeVar("Value")

FIRST_PAUSE_SECONDS = 0.5
# A failing server needs time to recover; how fast one that refuses is asked is a matter of the pace.
_LONGEST_AFTER_FAILURE_SECONDS, _LONGEST_AFTER_REFUSAL_SECONDS = 30.0, 8.0
# Attempts while nobody has answered yet: a wrong address should not take minutes to be told.
_ATTEMPTS_AT_NOBODY = 3


class RefusedError(Exception):
    """The endpoint does not take the request now; ``after`` are the seconds that it asks to wait, if it does."""

    def __init__(self, why: str, after: float | None = None) -> None:
        super().__init__(why)
        self.after = after


class FailedError(Exception):
    """The request failed in a way that may be another one next time: an error of the server, a hang, a broken body.

    ``nobody`` answered at the address, or somebody did and was ``perhaps_paid``.
    """

    def __init__(self, why: str, *, nobody: bool = False, perhaps_paid: bool = False) -> None:
        super().__init__(why)
        self.nobody = nobody
        self.perhaps_paid = perhaps_paid


class DeniedError(Exception):
    """The endpoint denies this request, as one that its moderation stops, or every one, as ``denied`` says then."""

    def __init__(self, why: str, denied: str) -> None:
        super().__init__(why)
        self.denied = denied


class Retrying:
    """Sends the requests of one endpoint until each is answered."""

    def __init__(self, config: OpenAIEngine) -> None:
        self._config = config
        self._place = f"{config.model} at {config.base_url}"
        self._pacing = Pacing(config.max_concurrency)
        self._tickets = itertools.count()
        self._answered = 0
        self._over: tuple[float, EndpointError] | None = None

    async def answer(self, send: Callable[[], Awaitable[Value]]) -> Value:
        """The value of ``send``, which raises RefusedError, FailedError or DeniedError where it may be called again.

        Pauses grow exponentially, with jitter, and the endpoint's own Retry-After is obeyed. Raises RequestError if the
        endpoint answered others meanwhile, else EndpointError, which ends all that wait too.
        """
        began = asyncio.get_running_loop().time()
        try:
            return await self._until_answered(send, began)
        except RequestError:
            raise
        except EndpointError as error:
            if self._over is None or began > self._over[0]:
                self._over = asyncio.get_running_loop().time(), error
            raise

    async def _until_answered(self, send: Callable[[], Awaitable[Value]], began: float) -> Value:
        answered_before, ticket, clock = self._answered, next(self._tickets), asyncio.get_running_loop().time
        failures = refusals = 0
        first_refused = None
        while True:
            try:
                async with self._pacing.slot(ticket):
                    self._refuse_if_over(began)
                    value = await self._counted(send)
                self._answered += 1
                return value
            except RefusedError as refused:
                refusals += 1
                first_refused = clock() if first_refused is None else first_refused
                pause = _pause(refusals, _LONGEST_AFTER_REFUSAL_SECONDS) if refused.after is None else refused.after
                if clock() - first_refused + pause > self._config.patience:
                    raise self._given_up(f"refused {refusals} times, at last: {refused}", answered_before) from None
            except FailedError as failed:
                failures += 1
                pause = _pause(failures, _LONGEST_AFTER_FAILURE_SECONDS)
                most = self._config.attempts
                if failed.nobody and not self._answered:
                    most = min(most, _ATTEMPTS_AT_NOBODY)
                if failures >= most:
                    raise self._given_up(f"failed {failures} times, at last: {failed}", answered_before) from None
            except DeniedError as denied:
                if self._answered:
                    raise RequestError(f"{self._place} answers other requests, but denies this one: {denied}") from None
                failures += 1
                pause = _pause(failures, _LONGEST_AFTER_FAILURE_SECONDS)
                # Whether it is the request or the key shows in the others, which may be under way.
                if failures >= _ATTEMPTS_AT_NOBODY:
                    raise EndpointError(denied.denied) from None
            await asyncio.sleep(pause)

    def _refuse_if_over(self, began: float) -> None:
        """Do not send what waited while another request found that nothing can be had; what comes later is tried."""
        if self._over is not None and began <= self._over[0]:
            error = self._over[1]
            raise type(error)(str(error))

    async def _counted(self, send: Callable[[], Awaitable[Value]]) -> Value:
        clock = asyncio.get_running_loop().time
        began, refused = clock(), False
        try:
            value = await send()
            self._pacing.answered(clock() - began)
            return value
        except RefusedError:
            refused = True
            await self._pacing.rest()
            raise
        finally:
            self._pacing.ended(refused=refused)

    def _given_up(self, why: str, answered_before: int) -> EndpointError:
        if self._answered > answered_before:
            return RequestError(f"{self._place} answers other requests, but this one {why}")
        return EndpointError(
            f"{self._place} does not answer: a request {why}. Check base_url, the server and proxies. What was "
            "answered is kept, and the same command goes on from there"
        )


def _pause(times: int, longest: float) -> float:
    """Seconds before the next attempt: doubling up to ``longest``, and between half and all of it at random."""
    return min(longest, FIRST_PAUSE_SECONDS * 2.0 ** min(times - 1, 16)) * random.uniform(0.5, 1)
