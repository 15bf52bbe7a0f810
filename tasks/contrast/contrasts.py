"""From replies of the unsteered model to the labelled conversations of a split, with a contrast to learn."""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from mascing.conversations.matching import matched_pairs
from mascing.conversations.own_replies import missing_side, texts_for
from mascing.conversations.seen_ids import SeenIds
from mascing.errors import DataError
from mascing.runs.readers import in_contrast
from mascing.schemas.config import MatchingConfig
from mascing.schemas.conversation import Conversation, Label
from mascing.schemas.facts import ContrastCounts, MatchedCounts
from mascing.tasks.contrast.unsteered import Unsteered, Wanting

# Conversations that are completed at once, and stand in memory.
_BLOCK = 4096


class Own(NamedTuple):
    """A conversation as it was brought, and with the model's own label and replies."""

    brought: Conversation
    own: Conversation


@dataclass(frozen=True)
class Matched:
    """The ids that leave the contrast, as they have no match, and by id the partner of each that has one.

    ``counts`` is None where the classes were not matched; ``reason`` says why there is no pair.
    """

    unmatched: Set[str] = frozenset()
    partners: Mapping[str, Conversation] = field(default_factory=dict)
    counts: MatchedCounts | None = None
    reason: str = ""


def matched(rows: Iterable[Own], config: MatchingConfig) -> Matched:
    """Match the classes of the contrast, whose conversations are in memory meanwhile."""
    contrast = {row.own.id: row.own for row in rows if in_contrast(row.own)}
    positive = sum(row.label == "positive" for row in contrast.values())
    pairs: list[tuple[str, str]] = []
    reason = ""
    if 0 < positive < len(contrast):
        try:
            pairs = matched_pairs(list(contrast.values()), config)
        except DataError as error:
            reason = str(error)
    partners = {a: contrast[b] for pair in pairs for a, b in (pair, pair[::-1])}
    counts = MatchedCounts(positive=positive, negative=len(contrast) - positive, pairs=len(pairs))
    return Matched(contrast.keys() - partners.keys(), partners, counts, reason)


def completed(model: Unsteered, rows: Iterable[Own], matched: Matched) -> Iterator[list[tuple[Own, Conversation]]]:
    """Each row, and its conversation as it is stored, in blocks.

    A conversation without a match leaves the contrast and stays in the split. Where the model itself gave none, a text
    of another origin stands if the judge agrees with it.
    """
    rows = iter(rows)
    while block := list(islice(rows, _BLOCK)):
        yield list(zip(block, _completed(model, block, matched), strict=True))


def _completed(model: Unsteered, rows: Sequence[Own], matched: Matched) -> list[Conversation]:
    wanted_reply = model.config.behaviour.wanted_reply
    own = [row.own for row in rows]
    kept = [row.model_copy(update={"contrast": False}) if row.id in matched.unmatched else row for row in own]
    wanting = {
        row.id: Wanting(brought, side, texts_for(side, brought, wanted_reply, matched.partners.get(row.id)))
        for (brought, _), row in zip(rows, kept, strict=True)
        if (side := missing_side(row)) is not None
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
