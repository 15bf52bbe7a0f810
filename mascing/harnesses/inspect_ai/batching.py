"""Requests that come one by one, answered in batches: whoever finds the model free answers for all who wait."""

from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Lock
from typing import Generic, TypeVar

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


@dataclass
class _Waiting(Generic[Asked, Answer]):
    asked: Asked
    kind: Hashable
    answer: "Future[Answer]" = field(default_factory=Future)


class Batches(Generic[Asked, Answer]):
    """Answer requests of many threads, at most ``size`` at a time and only those of one kind together."""

    def __init__(self, answer: Callable[[Sequence[Asked]], Sequence[Answer]], size: int) -> None:
        """``answer`` is called by one thread at a time."""
        self._answer, self._size = answer, size
        self._waiting: deque[_Waiting[Asked, Answer]] = deque()
        self._turn = Lock()

    def ask(self, asked: Asked, kind: Hashable) -> Answer:
        """Wait for the answer. Raises what ``answer`` raised for the batch."""
        mine: _Waiting[Asked, Answer] = _Waiting(asked, kind)
        self._waiting.append(mine)
        while not mine.answer.done():
            with self._turn:
                if not mine.answer.done():
                    self._serve(self._next())
        return mine.answer.result()

    def _next(self) -> list[_Waiting[Asked, Answer]]:
        """The first who waits, and others of its kind."""
        arrived = [self._waiting.popleft() for _ in range(len(self._waiting))]
        alike = [one for one in arrived if one.kind == arrived[0].kind][: self._size]
        self._waiting.extendleft(reversed([one for one in arrived if one not in alike]))
        return alike

    def _serve(self, batch: Sequence[_Waiting[Asked, Answer]]) -> None:
        try:
            answers = self._answer([one.asked for one in batch])
        except Exception as error:  # noqa: BLE001 - each who waits raises it
            for one in batch:
                one.answer.set_exception(error)
            return
        for one, answer in zip(batch, answers, strict=True):
            one.answer.set_result(answer)
