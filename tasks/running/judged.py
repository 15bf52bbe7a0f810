"""Generate and judge replies under masks, for the stages that compare the steered with the unsteered model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mascing.conversations.reply import Reply
from mascing.judges.judging import judge_all
from mascing.masks.mask import Mask
from mascing.schemas.config import RunConfig
from mascing.schemas.conversation import Conversation
from mascing.schemas.verdict import Verdict
from mascing.storage.object_storage import Storage
from mascing.tasks.running.actors import Pool, Worker
from mascing.tasks.running.isolation import Failed, halves_of, map_surviving
from mascing.tasks.running.pieces import by_id, pieces_of
from mascing.tasks.running.replies import generated, rendered, replies_to

BASELINE = "baseline"
"""The method name in the rows of the unsteered model."""

# Masks per item: enough to share the rendering of the conversations, few enough to keep all workers busy.
_MASKS = 4

# Conversations per stored piece of replies: a batch. Fixed, so that the number of workers never changes a piece.
_PIECE = 64

Row = dict[str, Any]
Steered = tuple[str, Mask | None]
"""The name of a method and one of its masks; None is the unsteered model."""


@dataclass(frozen=True)
class Judged:
    """One VERDICTS row per conversation, and the reasons why conversations have no reply, by id.

    A conversation without a reply is `unscored`.
    """

    rows: list[Row] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def judged_in_pieces(
    pool: Pool,
    storage: Storage,
    config: RunConfig,
    checkpoint: str,
    conversations: Sequence[Conversation],
    masks: Sequence[Steered],
    progress: Callable[[int, int], None],
) -> list[Judged]:
    """The judged replies of each (method, mask); replies that are stored are not generated again.

    ``checkpoint`` is the fingerprint of weights and tokenizer. ``progress`` counts replies.
    """
    pieces = pieces_of(conversations, _PIECE, by_id)
    items = [_Piece(number, tuple(piece)) for number in range(len(masks)) for piece in pieces]
    parts = map_surviving(
        pool,
        _judge_piece,
        _Stored(config, storage, checkpoint, tuple(masks)),
        items,
        progress,
        halves=lambda item: item.halves,
        lost=lambda item, failed: (item.mask, _judged(config, masks[item.mask][0], item.conversations, [failed])),
        size=lambda item: len(item.conversations),
    )
    judged = [Judged() for _ in masks]
    for number, part in parts:
        judged[number].rows.extend(part.rows)
        judged[number].failed.update(part.failed)
    return judged


def judged_on_pool(
    pool: Pool,
    config: RunConfig,
    conversations: Sequence[Conversation],
    masks: Sequence[Steered],
    progress: Callable[[int, int], None],
    at_once: int = _MASKS,
) -> list[list[Row]]:
    """`judged_replies` on the workers of the pool, ``at_once`` masks per item."""
    chunks = [tuple(range(start, min(start + at_once, len(masks)))) for start in range(0, len(masks), at_once)]
    parts = map_surviving(
        pool,
        _judge,
        _Shared(config, tuple(masks)),
        [_Chunk(chunk, tuple(conversations)) for chunk in chunks],
        progress,
        halves=lambda item: item.halves,
        lost=lambda item, failed: {
            number: _judged(config, masks[number][0], item.conversations, [failed]).rows for number in item.masks
        },
        size=lambda item: len(item.masks) * len(item.conversations),
    )
    judged: list[list[Row]] = [[] for _ in masks]
    for part in parts:
        for number, rows in part.items():
            judged[number] += rows
    return judged


def judged_replies(
    worker: Worker, config: RunConfig, conversations: Sequence[Conversation], masks: Sequence[Steered]
) -> list[list[Row]]:
    """For each (method, mask), one VERDICTS row per conversation.

    The conversations are rendered once for all masks.
    """
    loaded = worker.model(config.model)
    prompts = rendered(loaded, config, conversations)
    return [
        _judged(config, method, conversations, generated(loaded, config, prompts, mask)).rows for method, mask in masks
    ]


@dataclass(frozen=True)
class _Shared:
    config: RunConfig
    masks: tuple[Steered, ...]


@dataclass(frozen=True)
class _Chunk:
    """The numbers of some masks, and conversations to be replied to under each of them."""

    masks: tuple[int, ...]
    conversations: tuple[Conversation, ...]

    @property
    def halves(self) -> list["_Chunk"]:
        """The chunk in two by conversations, or nothing if it has one conversation."""
        return [_Chunk(self.masks, part) for part in halves_of(self.conversations)]


def _judge(worker: Worker, shared: _Shared, chunk: _Chunk) -> dict[int, list[Row]]:
    masks = [shared.masks[number] for number in chunk.masks]
    return dict(zip(chunk.masks, judged_replies(worker, shared.config, chunk.conversations, masks), strict=True))


@dataclass(frozen=True)
class _Stored:
    config: RunConfig
    storage: Storage
    checkpoint: str
    masks: tuple[Steered, ...]


@dataclass(frozen=True)
class _Piece:
    """A piece of the conversations, and the number of the mask that it is replied to under."""

    mask: int
    conversations: tuple[Conversation, ...]

    @property
    def halves(self) -> list["_Piece"]:
        """The piece in two, or nothing if it has one conversation."""
        return [_Piece(self.mask, part) for part in halves_of(self.conversations)]


def _judge_piece(worker: Worker, shared: _Stored, piece: _Piece) -> tuple[int, Judged]:
    method, mask = shared.masks[piece.mask]
    replies = replies_to(worker, shared.storage, shared.config, shared.checkpoint, piece.conversations, mask)
    return piece.mask, _judged(shared.config, method, piece.conversations, replies)


def _judged(
    config: RunConfig, method: str, conversations: Sequence[Conversation], replies: Sequence[Reply | Failed]
) -> Judged:
    """The verdicts on the replies; a conversation without one is unscored, which counts against a mask."""
    # No judge hears of a failed row: the judge may be what failed on it.
    both = zip(conversations, replies, strict=True)
    spoken = [(row, reply) for row, reply in both if isinstance(reply, Reply)]
    heard = iter(judge_all(config.behaviour, [row for row, _ in spoken], [reply for _, reply in spoken]))
    judged = Judged()
    for conversation, reply in zip(conversations, replies, strict=True):
        if isinstance(reply, Reply):
            judged.rows.append(_row(method, conversation, reply, next(heard)))
        else:
            judged.failed[conversation.id] = reply.reason
            unheard = Verdict(outcome="unscored", reason=f"no reply: {reply.reason}")
            judged.rows.append(_row(method, conversation, Reply(""), unheard))
    return judged


def _row(method: str, conversation: Conversation, reply: Reply, verdict: Verdict) -> Row:
    return {
        "conversation_id": conversation.id,
        "group_id": conversation.group_id,
        "set": conversation.set,
        "method": method,
        "reply": reply.text,
        "thought": reply.thought,
        "cut_off": reply.cut_off,
        "outcome": verdict.outcome,
        "reason": verdict.reason,
    }
