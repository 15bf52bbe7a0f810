"""Who replies to dev conversations and judges them, and where the conversations are stored."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from mascing.runs.stored_conversations import Located, StoredConversations
from mascing.schemas.config import RunConfig
from mascing.tasks.running.judged import Judging, Row, Steered
from mascing.tasks.streaming.asked import Asked


@dataclass(frozen=True)
class Jury:
    """The dev conversations and their judging; it holds where they stand, and the workers read them."""

    judging: Judging
    stored: StoredConversations

    @property
    def config(self) -> RunConfig:
        """The configuration of the run."""
        return self.judging.config

    @cached_property
    def conversations(self) -> list[Located]:
        """All dev conversations."""
        return self.stored.located()

    def at(self, conversations: Sequence[Located]) -> StoredConversations:
        """Some of the conversations themselves."""
        return self.stored.at([row.position for row in conversations])

    def judge(
        self, masks: Sequence[Steered], conversations: Sequence[Located], progress: Callable[[int, int], None]
    ) -> list[list[Row]]:
        """For each mask, one row per conversation: its outcome, without the reply."""
        judged = self.judging.judge(Asked(self.at(conversations)), masks, progress)
        return [of_mask.outcomes for of_mask in judged]
