"""The interface of a judge: from conversations and replies to verdicts.

A judge that decides alone on each reply is a function; one that is a model, or that asks other judges, takes all pairs
at once. A factory makes the judge from its options.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from math import fsum
from typing import Any, TypeAlias, TypeVar

from mascing.errors import DataError, MascingError
from mascing.schemas.conversation import Conversation
from mascing.schemas.verdict import Verdict
from mascing.storage.object_storage import Storage

# Verdicts awaited at the same time: enough to keep a judge behind a network busy, few enough not to flood it.
CONCURRENCY = 32

Value = TypeVar("Value")

Judge = Callable[[Conversation, str], Awaitable[Verdict]]
"""``async (conversation, reply) -> Verdict``; many calls are awaited at once."""

Pair: TypeAlias = tuple[Conversation, str]
"""A conversation and the reply that is judged."""

Verdicts: TypeAlias = AsyncIterator[tuple[int, Verdict]]
"""The place of each pair and its verdict, as they come: in any order, each once."""


@dataclass(frozen=True)
class BatchJudge:
    """A judge of many pairs at once.

    ``judge`` takes the pairs, and the storage where paid answers are kept so that none is paid twice, or None.
    """

    judge: Callable[[Sequence[Pair], Storage | None], Verdicts]


async def verdicts_of(judge: Judge | BatchJudge, pairs: Sequence[Pair], storage: Storage | None = None) -> Verdicts:
    """Judge the pairs. A judge that raises an exception leaves the pair, or what is left of a batch, unscored.

    Raises DataError if a judge returns no verdict, and the errors that a user can act on.
    """
    if not isinstance(judge, BatchJudge):
        async for heard in _one_by_one(judge, pairs):
            yield heard
        return
    left = set(range(len(pairs)))
    try:
        async for place, verdict in judge.judge(pairs, storage):
            left.discard(place)
            yield place, verdict
    except MascingError:
        raise
    except Exception as error:  # noqa: BLE001 - a batch on which a judge fails must not end the stage
        for place in sorted(left):
            yield place, _failed(error)


def unscored(reason: str = "the reply is empty", final: bool = True) -> Verdict:
    """The verdict on a reply that cannot be read."""
    return Verdict(outcome="unscored", reason=reason, final=final)


def scored(hit: bool, reason: str, final: bool = True) -> Verdict:
    """The verdict ``hit`` or ``miss``."""
    return Verdict(outcome="hit" if hit else "miss", reason=reason, final=final)


def summed(known: Iterable[float | None]) -> float | None:
    """The sum of what is known, such as costs, whatever the order; None if nothing is."""
    values = [value for value in known if value is not None]
    return fsum(values) if values else None


async def arriving(works: Iterable[Coroutine[Any, Any, Value]]) -> AsyncIterator[Value]:
    """The values of all works, as they come; the first error ends the others too, and none is left to be told of."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        for done in asyncio.as_completed(tasks):
            yield await done
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _one_by_one(judge: Judge, pairs: Sequence[Pair]) -> Verdicts:
    slots = asyncio.Semaphore(CONCURRENCY)

    async def judged(place: int, conversation: Conversation, reply: str) -> tuple[int, Verdict]:
        async with slots:
            try:
                verdict = await judge(conversation, reply)
            except MascingError:
                raise
            except Exception as error:  # noqa: BLE001 - a reply on which a user's judge fails must not end the stage
                return place, _failed(error)
        if not isinstance(verdict, Verdict):
            raise DataError(f"the judge of {conversation.set} returned {verdict!r}: a judge must return a Verdict")
        return place, verdict

    async for heard in arriving(judged(place, *pair) for place, pair in enumerate(pairs)):
        yield heard


def _failed(error: Exception) -> Verdict:
    reason = f"the judge failed with {type(error).__name__}: {error}"
    return Verdict(outcome="unscored", reason=reason, failed=True)
