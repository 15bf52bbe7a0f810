"""Ask a batch judge in a test."""

import asyncio
from collections.abc import Sequence

from mascing.judges.judge import BatchJudge, Judge, verdicts_of
from mascing.schemas.conversation import Conversation, Message
from mascing.schemas.verdict import Verdict


def chat(request: str = "How do I bake bread?", **fields: object) -> Conversation:
    """A conversation of one request."""
    return Conversation.model_validate(
        {"id": "c", "group_id": "g", "messages": (Message(role="user", content=request),), **fields}
    )


def heard(judge: Judge | BatchJudge, replies: Sequence[str], conversation: Conversation | None = None) -> list[Verdict]:
    """The verdicts on replies to one conversation, in order."""

    async def collect() -> dict[int, Verdict]:
        pairs = [(conversation or chat(), reply) for reply in replies]
        return {place: verdict async for place, verdict in verdicts_of(judge, pairs)}

    found = asyncio.run(collect())
    return [found[place] for place in range(len(replies))]
