"""How many requests are in flight: as many as the endpoint takes, by additive increase and multiplicative decrease.

The limit doubles until the endpoint first refuses too many, and then grows by one. It shrinks by a seventh when more
than a quarter of a round's requests were refused for their rate; a round is as many requests as may be in flight. A
server that refuses a tenth at random, whatever the load, is therefore no reason to slow down.
"""

import asyncio
import heapq
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_FIRST = 8
_LEAST_ROUND = 16
_TOO_MANY = 0.25
_DECREASE = 0.85
_WEIGHT = 0.1


class Pacing:
    """Slots for requests in flight, of one event loop."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._limit = float(min(_FIRST, most))
        self._probing = True
        self._in_flight = 0
        self._ended = 0
        self._refused = 0
        self._seconds: float | None = None
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []

    @property
    def limit(self) -> int:
        """Requests that may be in flight now."""
        return int(self._limit)

    @asynccontextmanager
    async def slot(self, ticket: int) -> AsyncIterator[None]:
        """Hold one of the slots; of those who wait the lowest ticket is next, so a retry does not queue up again."""
        turn = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (ticket, turn))
        self._admit()
        try:
            await turn
            yield
        finally:
            if turn.done() and not turn.cancelled():
                self._in_flight -= 1
            self._admit()

    def _admit(self) -> None:
        while self._waiting and self._in_flight < self.limit:
            _, turn = heapq.heappop(self._waiting)
            if not turn.done():  # who was cancelled waits no more
                turn.set_result(None)
                self._in_flight += 1

    async def rest(self) -> None:
        """Within the slot of a refused request, wait as long as an answer takes.

        A refusal comes at once. Without the rest, a single slot too many would send request after request to be
        refused, and one could not tell by their number how many slots are too many.
        """
        await asyncio.sleep(self._seconds or 0.0)

    def answered(self, seconds: float) -> None:
        """Learn how long answers take, as a moving average."""
        self._seconds = seconds if self._seconds is None else self._seconds + _WEIGHT * (seconds - self._seconds)

    def ended(self, *, refused: bool) -> None:
        """Count a request that ended, by whatever answer; ``refused`` is one that came too fast or found no room."""
        self._ended += 1
        self._refused += refused
        if self._ended < max(_LEAST_ROUND, self.limit):
            return
        if self._refused > _TOO_MANY * self._ended:
            self._limit, self._probing = max(1.0, self._limit * _DECREASE), False
        else:
            self._limit = min(float(self._most), self._limit * 2 if self._probing else self._limit + 1)
        self._ended = self._refused = 0
