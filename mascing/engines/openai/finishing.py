"""Work that goes on when nobody waits for it any more."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

Value = TypeVar("Value")


async def finished(work: Coroutine[Any, Any, Value]) -> Value:
    """Await work that goes on when its caller is cancelled: a request that is sent is paid, so its answer is kept."""
    return await asyncio.shield(overheard(work))


def overheard(work: Coroutine[Any, Any, Value]) -> asyncio.Task[Value]:
    """A task whose error counts as heard, for all who wait for it may have been cancelled."""
    task = asyncio.ensure_future(work)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return task
