"""A judge that is wrong about a known share of replies, as judges of real replies are."""

import hashlib
from typing import Literal

from pydantic import Field

from mascing.judges.exact import exact_judge
from mascing.judges.judge import Judge, scored
from mascing.judges.refusal import refusal_judge
from mascing.schemas.base import Frozen
from mascing.schemas.conversation import Conversation
from mascing.schemas.settings.judge_settings import ExactJudge, RefusalJudge
from mascing.schemas.verdict import Verdict


class MistakenOptions(Frozen):
    """``of`` is the kind of the judge whose verdicts are turned round; ``phrases`` are those of a refusal judge."""

    of: Literal["refusal", "exact"]
    errors: float = Field(ge=0, lt=0.5)
    phrases: tuple[str, ...] = ()


def mistaken(options: MistakenOptions) -> Judge:
    """Turn round the share ``errors`` of the verdicts; a hash of conversation and reply decides which."""
    right = (
        refusal_judge(RefusalJudge(phrases=options.phrases)) if options.of == "refusal" else exact_judge(ExactJudge())
    )

    async def judge(conversation: Conversation, reply: str) -> Verdict:
        verdict = await right(conversation, reply)
        if verdict.outcome == "unscored" or _chance(f"{conversation.id}\n{reply}") >= options.errors:
            return verdict
        return scored(verdict.outcome == "miss", f"mistaken on purpose: {verdict.reason}", verdict.final)

    return judge


def _chance(text: str) -> float:
    """A number from 0 to 1 that depends on the text alone."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64
