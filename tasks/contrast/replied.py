"""A split with what the unsteered model replied to it, read row by row."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mascing.conversations.intake.rows import Quarantined
from mascing.conversations.own_replies import Said, with_own_replies
from mascing.runs.readers import COUNTED
from mascing.runs.stored_conversations import StoredConversations
from mascing.runs.table_parts import StoredTable
from mascing.schemas.conversation import Conversation
from mascing.tasks.running.isolation import quarantined
from mascing.tasks.running.judged import Judged


class Own(NamedTuple):
    """A conversation as it was brought, and with the model's own label and replies; its position in the split."""

    position: int
    brought: Conversation
    own: Conversation


@dataclass(frozen=True)
class Replied:
    """The conversations of a split, the judged reply to each, and sampled ones to its targets that have a reply.

    A conversation without a reply is set aside: it is neither among the rows nor among the verdicts.
    """

    table: StoredTable
    judged: Judged
    sampled: Sequence[Judged] = ()

    def verdicts(self) -> Iterator[pa.Table]:
        """The VERDICTS rows of the unsteered model, block by block."""
        failed = pa.array(list(self.judged.failed), pa.string())
        for rows in self.judged.tables():
            yield rows.filter(pc.invert(pc.is_in(rows["conversation_id"], value_set=failed)))

    def columns(self) -> pa.Table:
        """What all verdicts say, without the replies."""
        return pa.concat_tables([rows.select(COUNTED) for rows in self.verdicts()]).combine_chunks()

    def targets(self) -> NDArray[np.int64]:
        """The positions of the target conversations that have a reply."""
        named = (
            pair
            for rows in self.judged.tables()
            for pair in zip(rows["conversation_id"].to_pylist(), rows["set"].to_pylist(), strict=True)
        )
        return np.array(
            [at for at, (name, of) in enumerate(named) if of == "target" and name not in self.judged.failed], np.int64
        )

    def each(self) -> Iterator[Own]:
        """The conversations with the model's own label and replies."""
        first, more = _said(self.judged), [_said(sample) for sample in self.sampled]
        for position, (brought, said) in enumerate(zip(StoredConversations(self.table), first, strict=True)):
            if brought.id not in self.judged.failed:
                samples = [next(sample) for sample in more] if brought.set == "target" else []
                yield Own(position, brought, with_own_replies(brought, [said, *samples]))

    def labelling(self, positions: Sequence[int]) -> list[str]:
        """The replies that label the conversations at ``positions``: of the contrast, `Conversation.own_reply`."""
        replies: list[str] = self.judged.take(positions)["reply"].to_pylist()
        return replies

    def set_aside(self) -> list[Quarantined]:
        """The conversations without a reply."""
        failed = self.judged.failed
        rows = enumerate(StoredConversations(self.table), start=1) if failed else ()
        return [quarantined(number, row, failed[row.id]) for number, row in rows if row.id in failed]


def _said(judged: Judged) -> Iterator[Said]:
    for rows in judged.tables():
        names, replies, outcomes = (rows[name].to_pylist() for name in ("conversation_id", "reply", "outcome"))
        # A reply to an earlier turn is none to the conversation, whose last turn methods learn from.
        answers = ("" if name in judged.early else reply for name, reply in zip(names, replies, strict=True))
        yield from map(Said, answers, outcomes)
