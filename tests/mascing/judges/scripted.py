"""A speaker that says what a test tells it."""

from collections.abc import AsyncIterator, Callable, Sequence

from mascing.judges.speakers.speaker import Ask, Manner, Said
from mascing.storage.object_storage import Storage


class Scripted:
    """Answers by a function of the prompt, the last prompt first; ``asked`` are the prompts."""

    def __init__(self, answer: Callable[[Ask], Said | str]) -> None:
        self.answer = answer
        self.asked: list[Ask] = []
        self.manner: Manner | None = None

    async def say(
        self, asked: Sequence[Ask], manner: Manner, storage: Storage | None
    ) -> AsyncIterator[tuple[int, Said]]:
        self.asked, self.manner = list(asked), manner
        for place in reversed(range(len(asked))):
            said = self.answer(asked[place])
            yield place, said if isinstance(said, Said) else Said(said, cost=0.5, seconds=0.1)
