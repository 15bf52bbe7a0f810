"""The content of a page: the result of a run and the evidence for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from mascing.schemas.config import RunConfig
from mascing.schemas.conversation import Conversation
from mascing.schemas.finished import RunStages
from mascing.schemas.result import Result


@dataclass(frozen=True)
class Reply:
    """One judged reply; ``raw`` is what its judge said, if it speaks."""

    conversation_id: str
    group_id: str
    set: str
    text: str
    outcome: str
    reason: str
    thought: str | None = None
    raw: str | None = None


@dataclass(frozen=True)
class MaskMap:
    """A mask as a map [L, E]: bias in standard deviations of each layer, or +1/-1 for experts of an override."""

    method: str
    rule: str
    values: Sequence[Sequence[float]]
    entries: int
    digest: str


@dataclass(frozen=True)
class Evidence:
    """The evidence of a run; parts that the run did not leave are empty.

    ``maps`` and ``replies`` are by method, ``replies`` then by conversation id. ``unsteered`` are the replies of the
    label stage to the test split, by conversation id. ``attribution`` is each expert's effect on the margin, in nats
    per standard deviation of its layer's logits. ``quarantined`` counts conversations by reason. ``written`` is the
    time (UTC) of the numbers, and ``again`` the command that makes the run again, in the folder of the storage.
    """

    result: Result
    config: RunConfig
    stages: RunStages
    written: datetime
    again: str
    maps: Mapping[str, MaskMap] = field(default_factory=dict)
    truth: Sequence[Sequence[float]] | None = None
    attribution: Sequence[Sequence[float]] | None = None
    conversations: Mapping[str, Conversation] = field(default_factory=dict)
    replies: Mapping[str, Mapping[str, Reply]] = field(default_factory=dict)
    unsteered: Mapping[str, Reply] = field(default_factory=dict)
    quarantined: Mapping[str, int] = field(default_factory=dict)
    card: Mapping[str, Any] = field(default_factory=dict)

    @property
    def layer_ids(self) -> Sequence[int]:
        """The model's own indices of its MoE layers."""
        return self.stages.harvest.facts.spec.layer_ids if self.stages.harvest else ()
