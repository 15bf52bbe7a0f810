"""Generate and judge replies under masks, for the stages that compare the steered with the unsteered model.

A unit is a mask and a block of conversations, which are rows of a table. Its replies are stored by what made them, and
its verdicts by the replies and the judge, so that a mended judge judges stored replies anew.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa

from mascing.conversations.reply import Reply
from mascing.judges.judge import summed
from mascing.masks.mask import Mask
from mascing.runs.readers import COUNTED
from mascing.runs.table_parts import Positions, taken
from mascing.schemas.config import RunConfig
from mascing.schemas.conversation import Conversation
from mascing.schemas.tables import VERDICTS
from mascing.schemas.verdict import Verdict
from mascing.storage.object_storage import Storage
from mascing.tasks.replying import replies as stored_replies
from mascing.tasks.replying.replies import RepliesFolder, Sought, replies_to, replies_to_all
from mascing.tasks.replying.verdict_pieces import verdicts_on
from mascing.tasks.running.bisection import SetAside
from mascing.tasks.running.isolation import Failed
from mascing.tasks.running.units import Kind, around, run_units
from mascing.tasks.streaming.asked import Asked
from mascing.tasks.streaming.rows import Rows
from mascing.tasks.streaming.spilled import Spilled
from mascing.tasks.workers.pool import Pool
from mascing.tasks.workers.worker import Worker

BASELINE = "baseline"
"""The method name in the rows of the unsteered model."""

# Conversations that `vllm` is asked at once: they are stored, and progress is told, only when all have a reply.
_ROWS_TOGETHER = 8192

# Folders of masks that are listed at once.
_LISTED_AT_ONCE = 16

Row = dict[str, Any]
Steered = tuple[str, Mask | None]
"""The name of a method and one of its masks; None is the unsteered model."""


class Judged:
    """One VERDICTS row per conversation, in the order of the asked, and why conversations have no reply, by id.

    A conversation without a reply is `unscored`. ``pieces`` are those that say why, by path. The rows may be on the
    local disk.
    """

    def __init__(
        self,
        method: str,
        heard: Spilled,
        blocks: Mapping[str, int],
        failed: Mapping[str, Failed],
        pieces: set[str],
        early: frozenset[str] = frozenset(),
    ) -> None:
        """``blocks`` are the tables of ``heard`` with their rows; ``early`` as in :attr:`early`."""
        self._method, self._heard, self._blocks = method, heard, list(blocks)
        self._ends = np.cumsum([*blocks.values()], dtype=np.int64)
        self.failed, self.pieces = failed, pieces
        self.early = early
        """The live conversations, by id, that an earlier turn than their last one decided."""

    @classmethod
    def of_units(
        cls, method: str, heard: Spilled, units: Sequence["_Unit"], failed: Mapping[str, Mapping[str, Failed]]
    ) -> "Judged":
        """The rows of some units, in their order."""
        paths = [unit.path for unit in units]
        return cls(
            method,
            heard,
            {unit.path: len(unit) for unit in units},
            {name: why for path in paths for name, why in failed[path].items()},
            {path for path in paths if failed[path]},
        )

    def tables(self) -> Iterator[pa.Table]:
        """The rows, block by block."""
        return map(self._table, range(len(self._blocks)))

    def take(self, positions: Positions | Sequence[int]) -> pa.Table:
        """The rows at ``positions`` of the asked, in that order."""
        return taken(positions, self._ends, self._table)

    @property
    def outcomes(self) -> list[Row]:
        """The columns of all rows that counts are made of, without what was said and why."""
        return [row for table in self.tables() for row in table.select(COUNTED).to_pylist()]

    def _table(self, block: int) -> pa.Table:
        rows, place = self._heard.get(self._blocks[block]), VERDICTS.get_field_index("method")
        return rows.set_column(place, VERDICTS.field(place), pa.array([self._method] * len(rows)))


@dataclass(frozen=True)
class Judging:
    """Who replies and judges: the workers, the place of the replies, and the settings.

    ``checkpoint`` is the fingerprint of weights and tokenizer. The stored replies of a mask are listed once, when it is
    first judged. What the judges took is kept by piece, as the same piece may be asked for again.
    """

    pool: Pool
    storage: Storage
    config: RunConfig
    checkpoint: str
    _listed: dict[str, set[str]] = field(default_factory=dict, init=False, repr=False, compare=False)
    _cost: dict[str, float | None] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def cost(self) -> float | None:
        """What the judges of all replies so far took, in USD; None if no judge has a price."""
        return summed(self._cost.values())

    def judge(self, asked: Asked, masks: Sequence[Steered], progress: Callable[[int, int], None]) -> list[Judged]:
        """The judged replies of each (method, mask); the workers read the rows, and ``progress`` counts replies.

        Of live conversations the replies that decided them, each with its verdict and turn.
        """
        if self.config.generation.turns == "live":
            from mascing.tasks.replying.live import replayed

            return replayed(self, asked, masks, progress)
        return self.last_turns([(mask, asked) for mask in masks], progress)

    def last_turns(self, asked: Sequence[tuple[Steered, Asked]], progress: Callable[[int, int], None]) -> list[Judged]:
        """The judged replies of each mask to the last turns of its conversations, which are rows of one table."""
        folder = RepliesFolder.of(self.config, self.checkpoint)
        blocks = {rows: [*rows.blocks()] for rows in {id(rows): rows for _, rows in asked}.values()}
        units = [
            [_Unit(f"{folder.under(mask)}/{name}.parquet", positions, mask) for name, positions in blocks[rows]]
            for (_, mask), rows in asked
        ]
        # Equal masks of two methods make the same units.
        distinct = list({unit.path: unit for of_mask in units for unit in of_mask}.values())
        shared = _Shared(self.config, self.storage, asked[0][1], self._others(distinct))
        heard, failed = Spilled(), dict[str, Mapping[str, Failed]]()
        kind, together = Kind(_reply, _judge, _reply_all), _rows_together(self.config, distinct)
        for unit, (table, why) in run_units(self.pool, self.storage, kind, shared, distinct, progress, together):
            heard.put(unit.path, table)
            failed[unit.path] = why
            self._cost[unit.path] = summed(table["cost"].to_pylist())
            self._listed[_folder_of(unit.path)].add(unit.path)
        return [
            Judged.of_units(method, heard, of_mask, failed)
            for ((method, _), _), of_mask in zip(asked, units, strict=True)
        ]

    def _others(self, units: Sequence["_Unit"]) -> dict[str, list[str]]:
        """The stored pieces of the same masks that are none of the units, by folder."""
        asked = {unit.path for unit in units}
        folders = {_folder_of(path) for path in asked}
        new = sorted(folders - self._listed.keys())
        with ThreadPoolExecutor(_LISTED_AT_ONCE) as threads:
            self._listed.update(zip(new, map(set, threads.map(self.storage.list, new)), strict=True))
        return {folder: sorted(self._listed[folder] - asked) for folder in folders}


@dataclass(frozen=True, eq=False)
class _Unit(Rows):
    """Rows that are replied to under a mask; the replies are stored."""

    mask: Mask | None


@dataclass(frozen=True)
class _Shared:
    """``others`` are stored pieces, by folder, that may hold replies to the conversations of units."""

    config: RunConfig
    storage: Storage
    asked: Asked
    others: Mapping[str, Sequence[str]]


Heard = tuple[pa.Table, Mapping[str, Failed]]
"""The VERDICTS rows of a unit, whose method is not said, and why conversations have no reply, by id."""


def _reply(worker: Worker, shared: _Shared, unit: _Unit, set_aside: SetAside) -> bytes:
    others = shared.others.get(_folder_of(unit.path), ())

    def reply(rows: Sequence[Conversation]) -> list[Reply | Failed]:
        return replies_to(worker, shared.storage, shared.config, rows, unit.mask, others)

    conversations = shared.asked.read(unit)
    return stored_replies.to_bytes(conversations, around(set_aside, conversations, reply))


def _reply_all(worker: Worker, shared: _Shared, units: Sequence[_Unit]) -> list[bytes]:
    asked = [shared.asked.read(unit) for unit in units]
    sought = [
        Sought(rows, unit.mask, shared.others.get(_folder_of(unit.path), ()))
        for unit, rows in zip(units, asked, strict=True)
    ]
    replies = replies_to_all(worker, shared.storage, shared.config, sought)
    return [stored_replies.to_bytes(rows, said) for rows, said in zip(asked, replies, strict=True)]


def _rows_together(config: RunConfig, units: Sequence[_Unit]) -> int:
    """Rows that one call of the engine replies to: those of a unit, or of many units for an engine with slots.

    An engine that batches as it goes is best asked for all that there is for a worker, under whatever masks.
    """
    if config.engine.kind == "transformers":
        return 0
    return min(_ROWS_TOGETHER, -(-sum(map(len, units)) // config.compute.workers))


def _judge(worker: Worker, shared: _Shared, unit: _Unit, data: bytes, set_aside: SetAside) -> Heard:
    """The verdict on each stored reply; a conversation without one is unscored, which counts against a mask.

    So is one that is set aside though it has a reply: its judge is what ended the worker.
    """
    del worker
    asked, replies = shared.asked.read(unit), stored_replies.from_bytes(data, unit.path)
    verdicts = verdicts_on(shared.storage, shared.config, unit.path, asked, replies, set_aside)
    both = list(zip(asked, replies, strict=True))
    rows = [
        _row(row, shared.asked.id_of(row), reply, verdict) for (row, reply), verdict in zip(both, verdicts, strict=True)
    ]
    failed = {shared.asked.id_of(row): reply for row, reply in both if isinstance(reply, Failed)}
    return pa.Table.from_pylist(rows, schema=VERDICTS), failed


def _folder_of(path: str) -> str:
    return str(PurePosixPath(path).parent)


def _row(conversation: Conversation, name: str, reply: Reply | Failed, verdict: Verdict) -> Row:
    said = Reply("") if isinstance(reply, Failed) else reply
    return {
        "conversation_id": name,
        "group_id": conversation.group_id,
        "set": conversation.set,
        "method": "",
        "reply": said.text,
        "thought": said.thought,
        "cut_off": said.cut_off,
        "outcome": verdict.outcome,
        "reason": verdict.reason,
        "raw": verdict.raw,
        "cost": verdict.cost,
    }
