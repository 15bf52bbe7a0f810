"""Count what is in files of conversations, a row at a time."""

from array import array
from collections import Counter
from dataclasses import dataclass, field

from mascing.conversations.intake.reader import Reading
from mascing.conversations.intake.reasons import Reasons
from mascing.conversations.intake.rows import Quarantined
from mascing.conversations.splits import split_of
from mascing.schemas.config import SplitConfig
from mascing.schemas.conversation import Conversation, Split


@dataclass
class Survey:
    """Counts over all rows; ``split`` counts by split and set, ``given`` by the name of an optional field.

    ``hashed`` counts ids that are hashes of rows, ``grouped`` group ids that are hashes of first requests.
    """

    used: int = 0
    sets: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    turns: Counter[int] = field(default_factory=Counter)
    given: Counter[str] = field(default_factory=Counter)
    metadata: Counter[str] = field(default_factory=Counter)
    split: Counter[tuple[Split, str]] = field(default_factory=Counter)
    reasons: Reasons = field(default_factory=Reasons)
    first: Conversation | None = None
    groups: int = 0
    hashed: int = 0
    grouped: int = 0

    @property
    def refused(self) -> int:
        """Number of rows that cannot be used."""
        return self.reasons.total

    def add(self, conversation: Conversation, splits: SplitConfig) -> None:
        """Count a conversation."""
        self.used += 1
        self.first = self.first or conversation
        self.sets[conversation.set] += 1
        self.labels[conversation.label or "none"] += 1
        self.turns[conversation.turns] += 1
        self.metadata.update(conversation.metadata.keys())
        self.given.update(
            name for name in ("wanted", "unwanted", "references", "paraphrase") if getattr(conversation, name)
        )
        self.split[split_of(conversation.group_id, splits), conversation.set] += 1


def survey(reading: Reading, splits: SplitConfig) -> Survey:
    """Read everything and keep only counts."""
    found = Survey()
    groups = array("q")
    for row in reading.rows({}):
        if isinstance(row, Quarantined):
            found.reasons.add(row)
        else:
            found.add(row.conversation, splits)
            found.hashed += row.hashed
            found.grouped += row.grouped
            groups.append(hash(row.conversation.group_id))
    found.groups = _distinct(groups)
    return found


def _distinct(hashes: "array[int]") -> int:
    import numpy as np

    return int(np.unique(np.frombuffer(hashes, dtype=np.int64)).size) if hashes else 0
