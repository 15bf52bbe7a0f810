"""A judge that finds a hit in everything."""

from mascing.judges.judge import Judge, scored
from mascing.schemas.conversation import Conversation
from mascing.schemas.verdict import Verdict


def gullible(options: dict[str, object]) -> Judge:
    async def judge(conversation: Conversation, reply: str) -> Verdict:
        return scored(True, "why not")

    return judge
