"""Who replies to dev conversations and judges them, and where the conversations are stored."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mascing.runs.stored_conversations import Located, StoredConversations
from mascing.schemas.config import RunConfig
from mascing.tasks.replying.judged import Judging, Row, Steered
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
        """Some of the conversations themselves, in the order in which they are stored.

        Selection draws from everywhere: in another order each unit would read most parts of the table.
        """
        return self.stored.at(sorted(row.position for row in conversations))

    def judge(
        self, masks: Sequence[Steered], conversations: Sequence[Located], progress: Callable[[int, int], None]
    ) -> list[list[Row]]:
        """For each mask, one row per conversation, in the given order: its outcome, without the reply."""
        asked = self.at(conversations)
        judged = self.judging.judge(Asked(asked), masks, progress)
        places = np.searchsorted(asked.positions, [row.position for row in conversations]).tolist()
        return [[rows[place] for place in places] for rows in (of_mask.outcomes for of_mask in judged)]
