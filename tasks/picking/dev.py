"""What is known of dev once the race is over: its conversations, the picks, and who judges and reads more replies."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from mascing.masks.candidates import Candidate
from mascing.runs.stored_conversations import Located
from mascing.schemas.config import RunConfig
from mascing.selection.racing import Rows
from mascing.tasks.picking.jury import Jury
from mascing.tasks.picking.sample import Sample
from mascing.tasks.replying.judged import Row, Steered


@dataclass(frozen=True)
class Pick:
    """A method's pick with its verdicts on all dev conversations, or on the first of them."""

    candidate: Candidate
    rows: Rows


@dataclass(frozen=True)
class Dev:
    """The dev conversations in the order of the race; each of its blocks ends after one of the numbers in ``ends``.

    ``baseline`` are the verdicts on the unsteered model. ``sample`` are conversations whose given replies are read, and
    ``sigma_L`` the scales of the layers.
    """

    jury: Jury
    conversations: Sequence[Located]
    ends: Sequence[int]
    baseline: Rows
    sample: Sample
    sigma_L: Tensor

    def judge(self, masks: Sequence[Steered], conversations: Sequence[Located]) -> list[list[Row]]:
        """For each mask, one row per conversation; no progress is told."""
        return self.jury.judge(masks, conversations, lambda done, total: None)

    @property
    def config(self) -> RunConfig:
        """The configuration of the run."""
        return self.jury.config
