"""Verdicts on the replies of a piece, stored by the replies and the judge: what was judged once is read again."""

from collections.abc import Sequence

import pyarrow as pa

from mascing.conversations.reply import Reply
from mascing.judges.judging import judge_all
from mascing.schemas.config import RunConfig
from mascing.schemas.conversation import Conversation
from mascing.schemas.tables import OUTCOMES
from mascing.schemas.verdict import Verdict
from mascing.storage import parquet
from mascing.storage.fingerprint import fingerprint
from mascing.storage.object_storage import Storage
from mascing.tasks.running.bisection import SetAside
from mascing.tasks.running.identity import judges_identity
from mascing.tasks.running.isolation import Failed
from mascing.tasks.running.pieces import stored
from mascing.tasks.running.units import around

# The fields of a verdict that are columns of a stored piece.
_STORED = set(OUTCOMES.names) & Verdict.model_fields.keys()


def verdicts_path(config: RunConfig, path: str, conversations: Sequence[Conversation]) -> str:
    """Where the verdicts on the replies of the piece at ``path`` are stored; these conversations have a reply."""
    return f"verdicts/{fingerprint(judges_identity(config))}/{fingerprint([path, list(conversations)])}.parquet"


def verdicts_on(
    storage: Storage,
    config: RunConfig,
    path: str,
    conversations: Sequence[Conversation],
    replies: Sequence[Reply | Failed],
    set_aside: SetAside,
) -> list[Verdict]:
    """The verdicts on the rows of the piece at ``path``, read from storage or judged; no reply is unscored.

    Those at the places of ``set_aside`` are not shown to a judge.
    """
    spoken = {place: reply for place, reply in enumerate(replies) if isinstance(reply, Reply)}
    ended = {number: set_aside[place] for number, place in enumerate(spoken) if place in set_aside}
    rows = [conversations[place] for place in spoken]
    heard = iter(_heard(storage, config, path, rows, list(spoken.values()), ended))
    return [_unheard(reply) if isinstance(reply, Failed) else next(heard) for reply in replies]


def _heard(
    storage: Storage,
    config: RunConfig,
    path: str,
    conversations: Sequence[Conversation],
    replies: Sequence[Reply],
    set_aside: SetAside,
) -> list[Verdict]:
    made: list[Verdict] = []

    def heard(pairs: Sequence[tuple[Conversation, Reply]]) -> list[Verdict]:
        return judge_all(config.behaviour, [row for row, _ in pairs], [reply for _, reply in pairs], storage)

    def judge() -> bytes | None:
        pairs = list(zip(conversations, replies, strict=True))
        made.extend(_ended(each) if isinstance(each, Failed) else each for each in around(set_aside, pairs, heard))
        return None if any(verdict.failed for verdict in made) else _to_bytes(conversations, made)

    stored_at = verdicts_path(config, path, conversations)
    data = stored(storage, stored_at, judge)
    return made if data is None else _from_bytes(data, stored_at)


def _ended(failed: Failed) -> Verdict:
    return Verdict(outcome="unscored", reason=f"the judge ended its worker: {failed.reason}", failed=True)


def _unheard(failed: Failed) -> Verdict:
    return Verdict(outcome="unscored", reason=f"no reply: {failed.reason}")


def _to_bytes(conversations: Sequence[Conversation], verdicts: Sequence[Verdict]) -> bytes:
    rows = [
        {"conversation_id": row.id, **verdict.model_dump(include=_STORED)}
        for row, verdict in zip(conversations, verdicts, strict=True)
    ]
    return parquet.to_bytes(pa.Table.from_pylist(rows, schema=OUTCOMES))


def _from_bytes(data: bytes, path: str) -> list[Verdict]:
    rows = parquet.from_bytes(data, path).to_pylist()
    # Pieces of earlier versions lack the later columns.
    return [Verdict.model_validate({name: row[name] for name in _STORED & row.keys()}) for row in rows]
