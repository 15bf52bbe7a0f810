"""Replies of the unsteered model for the label stage, and the judging of texts that may complete a contrast."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mascing.conversations.own_replies import OUTCOME_OF, Side
from mascing.conversations.reply import Reply
from mascing.judges.judging import judge_all
from mascing.schemas.config import RunConfig
from mascing.schemas.conversation import Conversation, Split
from mascing.tasks.running.actors import Pool, Worker
from mascing.tasks.running.judged import BASELINE, Row, judged_replies
from mascing.tasks.running.stage import steps

# Conversations per work item: as many as in the evaluate stage, so that both generate in the same batches.
_CONVERSATIONS = 256

Splits = Mapping[Split, Sequence[Conversation]]


@dataclass(frozen=True)
class _Item:
    """A block of conversations; ``sample`` 0 is the reply at the run's generation settings."""

    split: Split
    sample: int
    conversations: tuple[Conversation, ...]


def replies_of(pool: Pool, config: RunConfig, splits: Splits) -> dict[Split, list[Row]]:
    """One VERDICTS row per conversation, at the run's generation settings."""
    return _replied(pool, config, splits, [0], "")


def sampled_replies_of(pool: Pool, config: RunConfig, splits: Splits) -> dict[Split, list[Row]]:
    """``label.samples`` VERDICTS rows per conversation, at ``label.temperature``; the methods are named by sample."""
    return _replied(pool, config, splits, range(1, config.label.samples + 1), "sampling")


@dataclass(frozen=True)
class Wanting:
    """A side of a conversation that no reply of the model itself fills, and what may stand there, best first."""

    conversation: Conversation
    side: Side
    texts: tuple[str, ...]


def chosen_texts(pool: Pool, config: RunConfig, wanting: Sequence[Wanting]) -> list[str | None]:
    """For each side the first text that the judge reads as it must: a hit if wanted, a miss if unwanted."""
    items = [wanting[start : start + _CONVERSATIONS] for start in range(0, len(wanting), _CONVERSATIONS)]
    chosen = pool.map(_chosen, config, items, lambda done, total: None) if items else []
    return [text for block in chosen for text in block]


def _replied(
    pool: Pool, config: RunConfig, splits: Splits, samples: Sequence[int], part: str
) -> dict[Split, list[Row]]:
    items = [
        _Item(split, sample, tuple(conversations[start : start + _CONVERSATIONS]))
        for split, conversations in splits.items()
        for sample in samples
        for start in range(0, len(conversations), _CONVERSATIONS)
    ]
    rows: dict[Split, list[Row]] = {split: [] for split in splits}
    judged = pool.map(_reply, config, items, steps("label", part)) if items else []
    for item, part_rows in zip(items, judged, strict=True):
        rows[item.split] += part_rows
    return rows


def _reply(worker: Worker, config: RunConfig, item: _Item) -> list[Row]:
    if item.sample == 0:
        [rows] = judged_replies(worker, config, item.conversations, [(BASELINE, None)])
        return rows
    warmer = config.generation.model_copy(update={"temperature": config.label.temperature})
    # A sampled reply is seeded by the conversation's id, so each sample gets an id of its own.
    names = {f"{conversation.id}#{item.sample}": conversation for conversation in item.conversations}
    renamed = [conversation.model_copy(update={"id": name}) for name, conversation in names.items()]
    changed = config.model_copy(update={"generation": warmer})
    [rows] = judged_replies(worker, changed, renamed, [(f"sample-{item.sample}", None)])
    return [{**row, "conversation_id": names[row["conversation_id"]].id} for row in rows]


def _chosen(_: Worker, config: RunConfig, wanting: Sequence[Wanting]) -> list[str | None]:
    conversations = [need.conversation for need in wanting for _ in need.texts]
    replies = [Reply(text) for need in wanting for text in need.texts]
    judged = iter(judge_all(config.behaviour, conversations, replies))
    return [_first_fitting(need, [next(judged).outcome for _ in need.texts]) for need in wanting]


def _first_fitting(need: Wanting, outcomes: Sequence[str]) -> str | None:
    fitting = (text for text, outcome in zip(need.texts, outcomes, strict=True) if outcome == OUTCOME_OF[need.side])
    return next(fitting, None)
