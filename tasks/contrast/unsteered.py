"""Replies of the unsteered model for the label stage, and the judging of texts that may complete a contrast."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from mascing.conversations.own_replies import OUTCOME_OF, Side
from mascing.conversations.reply import Reply
from mascing.engines.generation import prompts_of
from mascing.engines.lengths import Lengths, cut_off_note, tokens_needed
from mascing.judges.judging import judge_all
from mascing.runs.stored_conversations import StoredConversations
from mascing.runs.table_parts import Positions, StoredTable
from mascing.schemas.config import RunConfig
from mascing.schemas.conversation import Conversation, Split
from mascing.storage.object_storage import Storage
from mascing.tasks.replying.judged import BASELINE, Judged, Judging
from mascing.tasks.running.stage import steps
from mascing.tasks.streaming.asked import Asked
from mascing.tasks.workers.pool import Pool
from mascing.tasks.workers.worker import Worker

# Sides per work item.
_SIDES = 256


@dataclass(frozen=True)
class Unsteered:
    """The model without a mask: how it is asked, and where its replies are kept.

    ``checkpoint`` is the fingerprint of weights and tokenizer. ``costs`` are what the judges of all replies so far
    took, in USD.
    """

    pool: Pool
    storage: Storage
    config: RunConfig
    checkpoint: str
    costs: list[float | None] = field(default_factory=list, init=False, repr=False, compare=False)

    def replies(self, split: Split, table: StoredTable) -> Judged:
        """One VERDICTS row per conversation, at the run's generation settings."""
        return self._judged(self.config, BASELINE, Asked(StoredConversations(table)), split)

    def sampled(self, split: Split, table: StoredTable, positions: Positions) -> list[Judged]:
        """``label.samples`` times the same for some of the rows, at ``label.temperature``."""
        settings = self.config.label
        warmer = self.config.generation.model_copy(update={"temperature": settings.temperature})
        config = self.config.model_copy(update={"generation": warmer})
        return [
            self._judged(
                config,
                f"sample-{sample}",
                Asked(StoredConversations(table, positions), sample),
                f"{split}, sample {sample}",
            )
            for sample in range(1, settings.samples + 1)
        ]

    def cut_off_note(self, few: Sequence[Conversation], cut_off: int, replies: int) -> str:
        """Which token limit ``cut_off`` of the ``replies`` need, by those to ``few`` of the conversations."""
        [lengths] = self.pool.map(_lengths, self.config, [few], steps("label", "continuing replies that were cut off"))
        return cut_off_note(cut_off, replies, self.config.generation, lengths)

    def chosen_texts(self, wanting: Sequence["Wanting"]) -> list[str | None]:
        """For each side the first text that the judge reads as it must: a hit if wanted, a miss if unwanted."""
        items = [wanting[start : start + _SIDES] for start in range(0, len(wanting), _SIDES)]
        chosen = self.pool.map(_chosen, (self.config, self.storage), items, lambda done, total: None) if items else []
        return [text for block in chosen for text in block]

    def _judged(self, config: RunConfig, method: str, asked: Asked, part: str) -> Judged:
        judging = Judging(self.pool, self.storage, config, self.checkpoint)
        [judged] = judging.judge(asked, [(method, None)], steps("label", part))
        self.costs.append(judging.cost)
        return judged


@dataclass(frozen=True)
class Wanting:
    """A side of a conversation that no reply of the model itself fills, and what may stand there, best first."""

    conversation: Conversation
    side: Side
    texts: tuple[str, ...]


def _lengths(worker: Worker, config: RunConfig, conversations: Sequence[Conversation]) -> Lengths:
    loaded = worker.model(config.model)
    return tokens_needed(loaded, prompts_of(loaded, conversations, config.generation), config.generation)


def _chosen(_: Worker, shared: tuple[RunConfig, Storage], wanting: Sequence[Wanting]) -> list[str | None]:
    config, storage = shared
    conversations = [need.conversation for need in wanting for _ in need.texts]
    replies = [Reply(text) for need in wanting for text in need.texts]
    judged = iter(judge_all(config.behaviour, conversations, replies, storage))
    return [_first_fitting(need, [next(judged).outcome for _ in need.texts]) for need in wanting]


def _first_fitting(need: Wanting, outcomes: Sequence[str]) -> str | None:
    fitting = (text for text, outcome in zip(need.texts, outcomes, strict=True) if outcome == OUTCOME_OF[need.side])
    return next(fitting, None)
