"""From replies of the unsteered model to the labelled conversations of a split, with a contrast to learn."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import islice

from mascing.conversations.matching import NoPairError, matched_pairs
from mascing.conversations.own_replies import missing_side, texts_for
from mascing.conversations.seen_ids import SeenIds
from mascing.runs.readers import in_contrast
from mascing.schemas.config import MatchingConfig
from mascing.schemas.conversation import Conversation, Label
from mascing.schemas.facts import ContrastCounts, MatchedCounts
from mascing.tasks.contrast.replied import Own, Replied
from mascing.tasks.contrast.unsteered import Unsteered, Wanting

# Conversations that are completed at once, and stand in memory.
_BLOCK = 4096


@dataclass(frozen=True)
class Matched:
    """The ids that leave the contrast, as they have no match, and by id the position of the partner of each other.

    ``counts`` is None where the classes were not matched; ``reason`` says why there is no pair.
    """

    unmatched: Set[str] = frozenset()
    partners: Mapping[str, int] = field(default_factory=dict)
    counts: MatchedCounts | None = None
    reason: str = ""


def matched(replied: Replied, config: MatchingConfig) -> Matched:
    """Match the classes of the contrast, of which positions and words are in memory meanwhile."""
    positions: dict[str, int] = {}
    sizes: Counter[Label | None] = Counter()

    def contrast() -> Iterator[Conversation]:
        for position, _, own in replied.each():
            if in_contrast(own):
                positions[own.id] = position
                sizes[own.label] += 1
                yield own

    pairs: list[tuple[str, str]] = []
    reason = ""
    try:
        pairs = matched_pairs(contrast(), config)
    except NoPairError as error:
        reason = str(error)
    partners = {a: positions[b] for pair in pairs for a, b in (pair, pair[::-1])}
    counts = MatchedCounts(positive=sizes["positive"], negative=sizes["negative"], pairs=len(pairs))
    return Matched(positions.keys() - partners.keys(), partners, counts, reason)


def completed(model: Unsteered, replied: Replied, matched: Matched) -> Iterator[list[tuple[Own, Conversation]]]:
    """Each row, and its conversation as it is stored, in blocks.

    A conversation without a match leaves the contrast and stays in the split. Where the model itself gave none, a text
    of another origin stands if the judge agrees with it.
    """
    rows = replied.each()
    while block := list(islice(rows, _BLOCK)):
        yield list(zip(block, _completed(model, replied, block, matched), strict=True))


def _completed(model: Unsteered, replied: Replied, rows: Sequence[Own], matched: Matched) -> list[Conversation]:
    own = [row.own for row in rows]
    kept = [row.model_copy(update={"contrast": False}) if row.id in matched.unmatched else row for row in own]
    sides = {row.id: side for row in kept if (side := missing_side(row)) is not None}
    paired = [name for name in sides if name in matched.partners]
    of_partner = dict(zip(paired, replied.labelling([matched.partners[name] for name in paired]), strict=True))
    wanted_reply = model.config.behaviour.wanted_reply
    wanting = {
        row.id: Wanting(row, side, texts_for(side, row, wanted_reply, of_partner.get(row.id)))
        for _, row, _ in rows
        if (side := sides.get(row.id)) is not None
    }
    chosen = dict(zip(wanting, model.chosen_texts(list(wanting.values())), strict=True))
    return [row.model_copy(update={wanting[row.id].side: chosen[row.id]}) if row.id in wanting else row for row in kept]


class ContrastCounter:
    """Counts the contrast as conversations are completed."""

    def __init__(self) -> None:
        self._rows: dict[Label, int] = {"positive": 0, "negative": 0}
        self._groups: dict[Label, SeenIds] = {"positive": SeenIds(), "negative": SeenIds()}
        self._both = self._on_policy = 0

    def add(self, own: Conversation, done: Conversation) -> None:
        """Count a conversation; ``own`` has no replies but the model's own."""
        if not in_contrast(done) or done.label is None:
            return
        self._rows[done.label] += 1
        self._groups[done.label][done.group_id] = 0
        if done.wanted and done.unwanted:
            self._both += 1
            self._on_policy += own.wanted is not None and own.unwanted is not None

    def counts(self) -> ContrastCounts:
        """What was counted."""
        return ContrastCounts(
            positive=self._rows["positive"],
            negative=self._rows["negative"],
            positive_groups=len(self._groups["positive"]),
            negative_groups=len(self._groups["negative"]),
            both=self._both,
            on_policy=self._on_policy,
        )
