"""Judges tried on the replies that a file gives: a `wanted` reply must be a hit and an `unwanted` one a miss."""

from collections.abc import Sequence
from dataclasses import dataclass

from mascing.conversations.reply import Reply
from mascing.errors import DataError
from mascing.judges.judging import judge_all
from mascing.schemas.config import BehaviourConfig
from mascing.schemas.conversation import Conversation
from mascing.schemas.verdict import Verdict

_SHOWN = 60


@dataclass(frozen=True)
class Given:
    """A reply that the file gives for a conversation, what it claims to be, and the judge's verdict."""

    conversation: Conversation
    field: str
    reply: str
    verdict: Verdict

    @property
    def kind(self) -> str:
        """The kind of the conversation's set: target, utility or protected."""
        return self.conversation.set.partition("/")[0]

    @property
    def misread(self) -> bool:
        """Whether the verdict is not what the file claims."""
        return self.verdict.outcome != {"wanted": "hit", "unwanted": "miss"}[self.field]


def given_replies(behaviour: BehaviourConfig, conversations: Sequence[Conversation]) -> list[Given]:
    """All given replies with the verdicts of their sets' judges."""
    given = [
        (conversation, field, reply)
        for conversation in conversations
        for field, reply in (("wanted", conversation.wanted), ("unwanted", conversation.unwanted))
        if reply
    ]
    verdicts = judge_all(behaviour, [row for row, _, _ in given], [Reply(reply) for _, _, reply in given])
    return [Given(*claim, verdict) for claim, verdict in zip(given, verdicts, strict=True)]


def refuse_misread(given: Sequence[Given], limit: float) -> None:
    """Raise DataError if a judge misreads more than a share ``limit`` of the `wanted` or of the `unwanted` replies.

    Such a judge cannot read this behaviour, or the replies are not what they claim; a run would measure nothing.
    """
    complaints = []
    for kind in ("target", "utility", "protected"):
        for field in ("wanted", "unwanted"):
            read = [reply for reply in given if (reply.kind, reply.field) == (kind, field)]
            misread = [reply for reply in read if reply.misread]
            if len(misread) > limit * len(read):
                complaints.append(_complaint(kind, field, misread, len(read)))
    if complaints:
        raise DataError(
            f"{'; '.join(complaints)}: choose another judge under `behaviour` (try it with `mascing judge`), correct "
            "the replies, or leave them out: they are not needed"
        )


def _complaint(kind: str, field: str, misread: Sequence[Given], total: int) -> str:
    first = misread[0]
    right = {"wanted": "hit", "unwanted": "miss"}[field]
    text = first.reply if len(first.reply) <= _SHOWN else f"{first.reply[:_SHOWN]}..."
    return (
        f"the judge of {kind} reads {len(misread)} of {total} `{field}` replies ({100 * len(misread) / total:.0f}%) as "
        f"no {right}, such as {text!r} of conversation {first.conversation.id!r} ({first.verdict.outcome}: "
        f"{first.verdict.reason})"
    )
