"""Judges tried on the replies that a file gives: a `wanted` reply must be a hit and an `unwanted` one a miss."""

from collections.abc import Iterable, Sequence
from typing import Literal

from mascing.conversations.reply import Reply
from mascing.errors import DataError
from mascing.judges.judging import judge_all
from mascing.schemas.config import BehaviourConfig
from mascing.schemas.conversation import Conversation
from mascing.schemas.facts import GivenReplies
from mascing.storage.object_storage import Storage

Field = Literal["wanted", "unwanted"]

_RIGHT: dict[Field, str] = {"wanted": "hit", "unwanted": "miss"}
_SHOWN = 60


def given_replies(
    behaviour: BehaviourConfig, conversations: Sequence[Conversation], storage: Storage | None = None
) -> tuple[GivenReplies, ...]:
    """How the judges read the given replies, for each kind of set and each of the two fields that has any.

    What a judge is paid for is kept in the ``storage``.
    """
    given = [
        (conversation, field, reply)
        for conversation in conversations
        for field, reply in given_by(conversation).items()
        if reply
    ]
    verdicts = judge_all(behaviour, [row for row, _, _ in given], [Reply(reply) for _, _, reply in given], storage)
    totals: dict[tuple[str, Field], int] = {}
    misread: dict[tuple[str, Field], list[str]] = {}
    for (conversation, field, reply), verdict in zip(given, verdicts, strict=True):
        key = (conversation.set.partition("/")[0], field)
        totals[key] = totals.get(key, 0) + 1
        if verdict.outcome != _RIGHT[field]:
            text = reply if len(reply) <= _SHOWN else f"{reply[:_SHOWN]}..."
            example = f"{text!r} of conversation {conversation.id!r} ({verdict.outcome}: {verdict.reason})"
            misread.setdefault(key, []).append(example)
    return tuple(
        GivenReplies(
            kind=kind,
            field=field,
            total=total,
            misread=len(misread.get((kind, field), ())),
            example=next(iter(misread.get((kind, field), ())), ""),
        )
        for (kind, field), total in sorted(totals.items())
    )


def merged(parts: Iterable[GivenReplies]) -> tuple[GivenReplies, ...]:
    """The counts of all parts together, with the first example of each kind of set and field."""
    merged: dict[tuple[str, str], GivenReplies] = {}
    for part in parts:
        before = merged.get((part.kind, part.field))
        merged[part.kind, part.field] = (
            part
            if before is None
            else before.model_copy(
                update={
                    "total": before.total + part.total,
                    "misread": before.misread + part.misread,
                    "example": before.example or part.example,
                }
            )
        )
    return tuple(part for _, part in sorted(merged.items()))


def given_by(conversation: Conversation) -> dict[Field, str | None]:
    """The replies that the file gives of a conversation."""
    return {"wanted": conversation.wanted, "unwanted": conversation.unwanted}


def refuse_misread(given: Sequence[GivenReplies], limit: float) -> None:
    """Raise DataError if a judge misreads more than a share ``limit`` of the `wanted` or of the `unwanted` replies.

    Such a judge cannot read this behaviour, or the replies are not what they claim; a run would measure nothing.
    """
    complaints = [
        f"the judge of {read.kind} reads {read.misread} of {read.total} `{read.field}` replies "
        f"({100 * read.misread / read.total:.0f}%) as no {_RIGHT[read.field]}, such as {read.example}"
        for read in given
        if read.misread > limit * read.total
    ]
    if complaints:
        raise DataError(
            f"{'; '.join(complaints)}: choose another judge under `behaviour` (try it with `mascing judge`), correct "
            "the replies, or leave them out: they are not needed"
        )
