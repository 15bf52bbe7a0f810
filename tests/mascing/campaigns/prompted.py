"""A judge of one's own with an option that has the name of another judge's path."""

from mascing.judges.judge import Judge, scored
from mascing.schemas.base import Frozen
from mascing.schemas.conversation import Conversation
from mascing.schemas.verdict import Verdict


class Prompted(Frozen):
    prompt: str


def prompted(options: Prompted) -> Judge:
    async def judge(conversation: Conversation, reply: str) -> Verdict:
        return scored(options.prompt in reply, "its prompt is or is not in the reply")

    return judge
