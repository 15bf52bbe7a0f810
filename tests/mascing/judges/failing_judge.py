"""A judge that fails on the reply `odd`."""

from mascing.judges.judge import Judge
from mascing.schemas.conversation import Conversation
from mascing.schemas.verdict import Verdict


def failing(options: dict[str, str]) -> Judge:
    async def judge(conversation: Conversation, reply: str) -> Verdict:
        if reply == "odd":
            raise ZeroDivisionError(reply)
        return Verdict(outcome="hit", reason="even")

    return judge
