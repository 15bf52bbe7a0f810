"""The exact judge: a reply must equal the wanted one."""

from typing import Literal

from mascing.errors import DataError
from mascing.judges.judge import Judge, spaced, unscored
from mascing.schemas.conversation import Conversation
from mascing.schemas.settings.judge_settings import ExactJudge
from mascing.schemas.verdict import Verdict


def exact_judge(config: ExactJudge) -> Judge:
    """A hit is a reply that equals the conversation's ``wanted`` reply up to white space.

    The judge raises DataError for a conversation without a ``wanted`` reply.
    """

    async def judge(conversation: Conversation, reply: str) -> Verdict:
        if conversation.wanted is None:
            raise DataError(
                f"conversation {conversation.id!r} ({conversation.set}) has no `wanted` reply for the exact judge to "
                "compare with: add it, or judge this kind of set by refusal"
            )
        if not reply.strip():
            return unscored()
        equal = spaced(reply) == spaced(conversation.wanted)
        outcome: Literal["hit", "miss"] = "hit" if equal else "miss"
        return Verdict(outcome=outcome, reason="equals the wanted reply" if equal else "differs from the wanted reply")

    return judge
