"""A speaker that says nothing: it weighs what a judge's model would read and say."""

from collections.abc import AsyncIterator, Mapping, Sequence

from mascing.judges.speakers.marks import defused
from mascing.judges.speakers.speaker import Ask, Manner, Said
from mascing.storage.object_storage import Storage


class WeighingSpeaker:
    """Keeps the ``messages`` of each prompt, and ``answer_tokens``: the most that all answers may have together."""

    def __init__(self) -> None:
        self.messages: list[list[Mapping[str, str]]] = []
        self.answer_tokens = 0

    async def say(
        self, asked: Sequence[Ask], manner: Manner, storage: Storage | None
    ) -> AsyncIterator[tuple[int, Said]]:
        """Yield that there is no answer."""
        for number, ask in enumerate(asked):
            self.messages.append(messages_of(ask))
            self.answer_tokens += manner.max_tokens
            yield number, Said(failure="only weighed")


def messages_of(ask: Ask) -> list[Mapping[str, str]]:
    """The prompt as the messages that an endpoint is sent."""
    if ask.template:
        return [{"role": "user", "content": ask.filled()}]
    return [{**message, "content": defused(message["content"])} for message in ask.messages]
