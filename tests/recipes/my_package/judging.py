"""A judge of courtesy."""

from mascing.judges.judge import Judge, unscored
from mascing.schemas.base import Frozen
from mascing.schemas.conversation import Conversation
from mascing.schemas.verdict import Verdict


class CourtesyOptions(Frozen):
    words: tuple[str, ...] = ("please", "thank you")
    at_least: int = 1


def courtesy(options: CourtesyOptions) -> Judge:
    async def judge(conversation: Conversation, reply: str) -> Verdict:
        if not reply.strip():
            return unscored()
        said = [word for word in options.words if word in reply.lower()]
        return Verdict(
            outcome="hit" if len(said) >= options.at_least else "miss",
            reason=f"says {', '.join(said) or 'no word of courtesy'}",
        )

    return judge
