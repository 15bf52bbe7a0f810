"""Live conversations: the model answers every user turn, its own replies are the history, and a verdict may stop it.

Each round asks the conversations that go on for one more reply. To its model a round is nothing new: conversations with
a fixed history, which ends with a user turn. So replies are addressed by the history that they answer, verdicts are
stored with them, and whoever starts again finds both.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from mascing.conversations.parquet_tables import to_table
from mascing.judges.judge import summed
from mascing.runs.stored_conversations import StoredConversations
from mascing.schemas.config import RunConfig
from mascing.schemas.conversation import Conversation, Message
from mascing.schemas.settings.generation_settings import Stop, stop_of
from mascing.schemas.tables import VERDICTS
from mascing.tasks.replying.judged import Judged, Judging, Row, Steered
from mascing.tasks.running.isolation import Failed
from mascing.tasks.streaming.asked import Asked
from mascing.tasks.streaming.spilled import Spilled


def replayed(
    judging: Judging, asked: Asked, masks: Sequence[Steered], progress: Callable[[int, int], None]
) -> list[Judged]:
    """The reply of each mask that decided each conversation, with its verdict; ``progress`` counts replies.

    The conversations of all masks are in memory.
    """
    games = [[_Game.of(row, judging.config) for row in asked.conversations] for _ in masks]
    pieces: list[set[str]] = [set() for _ in masks]
    done = 0
    while any(game.open for of_mask in games for game in of_mask):
        playing = [[game for game in of_mask if game.open] for of_mask in games]
        counted = _Counting(progress, done)
        for number, judged in _round(judging, asked.sample, masks, playing, counted):
            pieces[number] |= judged.pieces
            rows = (row for table in judged.tables() for row in table.to_pylist())
            for game, row in zip(playing[number], rows, strict=True):
                game.hear(row, judged.failed.get(row["conversation_id"]))
        done += sum(map(len, playing))
    return [_judged(method, of_mask, said) for (method, _), of_mask, said in zip(masks, games, pieces, strict=True)]


@dataclass
class _Counting:
    progress: Callable[[int, int], None]
    before: int

    def __call__(self, done: int, total: int) -> None:
        self.progress(self.before + done, self.before + total)


def _round(
    judging: Judging, sample: int, masks: Sequence[Steered], playing: Sequence[Sequence["_Game"]], counted: _Counting
) -> list[tuple[int, Judged]]:
    """The numbers of the masks that are still asked, with the judged replies to the turns of this round."""
    rows = [game.asked for of_mask in playing for game in of_mask]
    table, parts, start = to_table(rows), [], 0
    for number, of_mask in enumerate(playing):
        if of_mask:
            here = range(start, start + len(of_mask))
            parts.append((number, (masks[number], Asked(StoredConversations(table, here), sample))))
        start += len(of_mask)
    judged = judging.last_turns([part for _, part in parts], counted)
    return [(number, each) for (number, _), each in zip(parts, judged, strict=True)]


@dataclass
class _Game:
    """One conversation under one mask: what was said so far, and the row that decided it."""

    conversation: Conversation
    stop: Stop
    turns: tuple[tuple[Message, ...], ...]
    """What is said before each reply: a user turn, and system turns before it.

    The file's replies are left out. What an assistant says before any user spoke, such as a greeting, is no reply.
    """
    history: tuple[Message, ...] = ()
    number: int = 0
    unscored: str | None = None
    cost: float | None = None
    decided: Row | None = None
    failed: Failed | None = None

    @classmethod
    def of(cls, conversation: Conversation, config: RunConfig) -> "_Game":
        turns: list[tuple[Message, ...]] = []
        before: list[Message] = []
        for message in conversation.messages:
            if message.role != "assistant" or not turns:
                before.append(message)
            if message.role == "user":
                turns.append(tuple(before))
                before = []
        stop = stop_of(config.generation, conversation.set, config.behaviour.judge_of(conversation.set))
        return cls(conversation, stop, tuple(turns))

    @property
    def open(self) -> bool:
        return self.decided is None

    @property
    def asked(self) -> Conversation:
        """The conversation up to the user turn that is answered next."""
        return self.conversation.model_copy(update={"messages": (*self.history, *self.turns[self.number])})

    @property
    def early(self) -> bool:
        """Whether an earlier turn than the last one decided."""
        return self.number + 1 < len(self.turns)

    def hear(self, row: Row, failed: Failed | None) -> None:
        """Take the judged reply to the turn that was asked."""
        outcome, said = row["outcome"], f"{self._turn}: {row['reason']}"
        self.cost = summed((self.cost, row["cost"]))
        if failed is not None:
            self.failed = failed
            self._decide(row, "unscored", said)
        elif outcome == self.stop or (not self.early and (self.stop == "end" or self.unscored is None)):
            self._decide(row, outcome, said)
        elif not self.early:
            self._decide(row, "unscored", str(self.unscored))
        elif not row["reply"].strip():
            self._decide(row, "unscored", f"{self._turn}: the reply is empty, so that the conversation cannot go on")
        else:
            if outcome == "unscored":
                self.unscored = self.unscored or said
            reply = Message(role="assistant", content=row["reply"])
            self.history = (*self.history, *self.turns[self.number], reply)
            self.number += 1

    @property
    def _turn(self) -> str:
        return f"turn {self.number + 1} of {len(self.turns)}"

    def _decide(self, row: Row, outcome: str, reason: str) -> None:
        told = reason if len(self.turns) > 1 else row["reason"]
        self.decided = {**row, "outcome": outcome, "reason": told, "cost": self.cost}


def _judged(method: str, games: Sequence[_Game], pieces: set[str]) -> Judged:
    rows: list[dict[str, Any]] = [game.decided for game in games if game.decided is not None]
    heard = Spilled()
    heard.put("", pa.Table.from_pylist(rows, schema=VERDICTS))
    failed = {game.conversation.id: game.failed for game in games if game.failed is not None}
    early = frozenset(game.conversation.id for game in games if game.early)
    return Judged(method, heard, {"": len(rows)}, failed, pieces, early)
