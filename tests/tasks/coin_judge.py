"""A judge that gives every model hits and misses, the meaningless replies of a random model included."""

import hashlib

from mascing.judges.judge import Judge
from mascing.schemas.base import Frozen
from mascing.schemas.conversation import Conversation
from mascing.schemas.verdict import Verdict


class NoOptions(Frozen):
    """Takes no options."""


def coin(options: NoOptions) -> Judge:
    """Hit or miss by a hash of the conversation's id and the reply, about half of each."""

    async def judge(conversation: Conversation, reply: str) -> Verdict:
        digest = hashlib.sha256(
            f"{conversation.id.partition('#')[0]}/{reply}".encode("utf-8", "surrogatepass")
        ).digest()
        return Verdict(outcome="hit" if digest[0] % 2 else "miss", reason=f"a coin shows {digest[0]}")

    return judge
