"""End what waits for an engine once that engine is gone: vLLM leaves some of it waiting for ever."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

_LOOK_SECONDS = 0.5


class Lifetime:
    """The lifetime of an AsyncLLM."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self._waiting: set[asyncio.Timeout] = set()
        self._watch: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def awaited(self) -> AsyncIterator[None]:
        """Wait in the block for something of the engine. Raises EngineDeadError if the engine ends before the block."""
        from vllm.v1.engine.exceptions import EngineDeadError

        if self._watch is None:
            self._watch = asyncio.create_task(self._watched())
        limit = asyncio.timeout(None)
        try:
            async with limit:
                self._waiting.add(limit)
                try:
                    yield
                finally:
                    self._waiting.discard(limit)
        except TimeoutError as error:
            raise (EngineDeadError() if limit.expired() else error) from error

    async def _watched(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            while self._engine.errored and self._waiting:
                self._waiting.pop().reschedule(0)
