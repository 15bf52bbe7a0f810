"""How many requests are in flight: as many as the endpoint takes, by additive increase and multiplicative decrease.

The limit doubles until the endpoint first refuses too many, and then grows by one. It shrinks by a fifth when more than
a quarter of a round's requests were refused for their rate; a round is as many requests as may be in flight. A server
that refuses a tenth at random, whatever the load, is therefore no reason to slow down.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_FIRST = 8
_LEAST_ROUND = 16
_TOO_MANY = 0.25
_DECREASE = 0.8


class Pacing:
    """Slots for requests in flight, of one event loop."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._limit = float(min(_FIRST, most))
        self._probing = True
        self._in_flight = 0
        self._ended = 0
        self._refused = 0
        self._changed = asyncio.Condition()

    @property
    def limit(self) -> int:
        """Requests that may be in flight now."""
        return int(self._limit)

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Hold one of the slots; who waits longest is next."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._in_flight < self.limit)
            self._in_flight += 1
        try:
            yield
        finally:
            self._in_flight -= 1
            async with self._changed:
                self._changed.notify(max(1, self.limit - self._in_flight))

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
