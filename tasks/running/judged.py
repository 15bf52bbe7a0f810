"""Generate and judge replies under masks, for the stages that compare the steered with the unsteered model.

A unit is a mask and a block of conversations. Its replies are stored by what made them, and its verdicts by the replies
and the judge, so that a mended judge judges stored replies anew.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa

from mascing.conversations.reply import Reply
from mascing.judges.judging import judge_all
from mascing.masks.mask import Mask
from mascing.schemas.config import RunConfig
from mascing.schemas.conversation import Conversation
from mascing.schemas.tables import OUTCOMES
from mascing.schemas.verdict import Verdict
from mascing.storage import parquet
from mascing.storage.fingerprint import fingerprint
from mascing.storage.object_storage import Storage
from mascing.tasks.running import replies as stored_replies
from mascing.tasks.running.identity import judges_identity
from mascing.tasks.running.isolation import Failed
from mascing.tasks.running.pieces import by_id, pieces_of, stored
from mascing.tasks.running.replies import RepliesFolder, replies_to
from mascing.tasks.running.units import Kind, SetAside, around, run_units
from mascing.tasks.workers.pool import Pool
from mascing.tasks.workers.worker import Worker

BASELINE = "baseline"
"""The method name in the rows of the unsteered model."""

# Conversations per unit: a batch. Fixed, so that the number of workers never changes a unit.
_ROWS = 64

# Folders of masks that are listed at once.
_LISTED_AT_ONCE = 16

Row = dict[str, Any]
Steered = tuple[str, Mask | None]
"""The name of a method and one of its masks; None is the unsteered model."""


@dataclass(frozen=True)
class Judged:
    """One VERDICTS row per conversation, and why conversations have no reply, by id.

    A conversation without a reply is `unscored`. ``pieces`` are those that say why, by path.
    """

    rows: list[Row] = field(default_factory=list)
    failed: dict[str, Failed] = field(default_factory=dict)
    pieces: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Judging:
    """Who replies and judges: the workers, the place of the replies, and the settings.

    ``checkpoint`` is the fingerprint of weights and tokenizer. The stored replies of a mask are listed once, when it is
    first judged.
    """

    pool: Pool
    storage: Storage
    config: RunConfig
    checkpoint: str
    _listed: dict[str, set[str]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def judge(
        self,
        conversations: Sequence[Conversation],
        masks: Sequence[Steered],
        progress: Callable[[int, int], None],
    ) -> list[Judged]:
        """The judged replies of each (method, mask); ``progress`` counts replies."""
        folder = RepliesFolder.of(self.config, self.checkpoint)
        blocks = [tuple(block) for block in pieces_of(conversations, _ROWS, by_id)]
        units = [[_Unit(mask, folder.piece(block, mask), block) for block in blocks] for _, mask in masks]
        # Equal masks of two methods make the same units.
        distinct = list({unit.path: unit for of_mask in units for unit in of_mask}.values())
        shared = _Shared(self.config, self.storage, self._others(distinct))
        made = run_units(self.pool, self.storage, Kind(_reply, _judge), shared, distinct, progress)
        heard = {unit.path: replies for unit, replies in made}
        for path in heard:
            self._listed[_folder_of(path)].add(path)
        return [_judged(method, of_mask, heard) for (method, _), of_mask in zip(masks, units, strict=True)]

    def _others(self, units: Sequence["_Unit"]) -> dict[str, list[str]]:
        """The stored pieces of the same masks that are none of the units, by folder."""
        asked = {unit.path for unit in units}
        folders = {_folder_of(path) for path in asked}
        new = sorted(folders - self._listed.keys())
        with ThreadPoolExecutor(_LISTED_AT_ONCE) as threads:
            self._listed.update(zip(new, map(set, threads.map(self.storage.list, new)), strict=True))
        return {folder: sorted(self._listed[folder] - asked) for folder in folders}


@dataclass(frozen=True)
class _Unit:
    """Conversations that are replied to under a mask; the replies are stored at ``path``."""

    mask: Mask | None
    path: str
    conversations: tuple[Conversation, ...]

    def __len__(self) -> int:
        return len(self.conversations)

    def part(self, start: int, stop: int) -> "_Unit":
        """These conversations alone."""
        return _Unit(self.mask, self.path, self.conversations[start:stop])


@dataclass(frozen=True)
class _Shared:
    """``others`` are stored pieces, by folder, that may hold replies to the conversations of units."""

    config: RunConfig
    storage: Storage
    others: Mapping[str, Sequence[str]]


Heard = tuple[Reply | Failed, Verdict]


def _reply(worker: Worker, shared: _Shared, unit: _Unit, set_aside: SetAside) -> bytes:
    others = shared.others.get(_folder_of(unit.path), ())

    def reply(rows: Sequence[Conversation]) -> list[Reply | Failed]:
        return replies_to(worker, shared.storage, shared.config, rows, unit.mask, others)

    replies = around(set_aside, unit.conversations, reply)
    return stored_replies.to_bytes(unit.conversations, replies)


def _judge(worker: Worker, shared: _Shared, unit: _Unit, data: bytes) -> list[Heard]:
    """The verdict on each stored reply; a conversation without one is unscored, which counts against a mask."""
    del worker
    replies = stored_replies.from_bytes(data, unit.path)
    # No judge hears of a failed row: the judge may be what failed on it.
    both = zip(unit.conversations, replies, strict=True)
    spoken = [(row, reply) for row, reply in both if isinstance(reply, Reply)]
    rows, said = [row for row, _ in spoken], [reply for _, reply in spoken]
    heard = iter(verdicts_on(shared.storage, shared.config, unit.path, rows, said))
    return [(reply, next(heard) if isinstance(reply, Reply) else _unheard(reply)) for reply in replies]


def verdicts_on(
    storage: Storage, config: RunConfig, path: str, conversations: Sequence[Conversation], replies: Sequence[Reply]
) -> list[Verdict]:
    """The verdicts on the replies of the piece at ``path``, read from storage or judged."""
    judges = fingerprint(judges_identity(config))
    name = fingerprint([path, list(conversations)])
    made: list[Verdict] = []

    def judge() -> bytes | None:
        made.extend(judge_all(config.behaviour, conversations, replies))
        return None if any(verdict.failed for verdict in made) else _to_bytes(conversations, made)

    stored_at = f"verdicts/{judges}/{name}.parquet"
    data = stored(storage, stored_at, judge)
    return made if data is None else _from_bytes(data, stored_at)


def _unheard(failed: Failed) -> Verdict:
    return Verdict(outcome="unscored", reason=f"no reply: {failed.reason}")


def _to_bytes(conversations: Sequence[Conversation], verdicts: Sequence[Verdict]) -> bytes:
    rows = [
        {"conversation_id": row.id, "outcome": verdict.outcome, "reason": verdict.reason}
        for row, verdict in zip(conversations, verdicts, strict=True)
    ]
    return parquet.to_bytes(pa.Table.from_pylist(rows, schema=OUTCOMES))


def _from_bytes(data: bytes, path: str) -> list[Verdict]:
    rows = parquet.from_bytes(data, path).to_pylist()
    return [Verdict(outcome=row["outcome"], reason=row["reason"]) for row in rows]


def _folder_of(path: str) -> str:
    return str(PurePosixPath(path).parent)


def _judged(method: str, units: Sequence[_Unit], heard: Mapping[str, Sequence[Heard]]) -> Judged:
    judged = Judged()
    for unit in units:
        for conversation, (reply, verdict) in zip(unit.conversations, heard[unit.path], strict=True):
            judged.rows.append(_row(method, conversation, reply, verdict))
            if isinstance(reply, Failed):
                judged.failed[conversation.id] = reply
                judged.pieces.add(unit.path)
    return judged


def _row(method: str, conversation: Conversation, reply: Reply | Failed, verdict: Verdict) -> Row:
    said = Reply("") if isinstance(reply, Failed) else reply
    return {
        "conversation_id": conversation.id,
        "group_id": conversation.group_id,
        "set": conversation.set,
        "method": method,
        "reply": said.text,
        "thought": said.thought,
        "cut_off": said.cut_off,
        "outcome": verdict.outcome,
        "reason": verdict.reason,
    }
