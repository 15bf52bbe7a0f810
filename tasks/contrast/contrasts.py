"""From judged replies of the unsteered model to the labelled conversations of a split, with a contrast to learn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mascing.conversations.matching import matched_pairs
from mascing.conversations.own_replies import Said, missing_side, texts_for, with_own_replies
from mascing.errors import DataError
from mascing.runs.readers import contrast_of
from mascing.schemas.config import MatchingConfig
from mascing.schemas.conversation import Conversation
from mascing.schemas.facts import ContrastCounts, MatchedCounts
from mascing.tasks.contrast.unsteered import Unsteered, Wanting
from mascing.tasks.running.judged import Row


@dataclass(frozen=True)
class LabelledSplit:
    """The conversations of a split with the model's own labels and replies.

    ``matched`` is None where the classes were not matched; ``unmatched`` says why there is no pair.
    """

    conversations: Sequence[Conversation]
    contrast: ContrastCounts
    matched: MatchedCounts | None
    unmatched: str


def labelled(model: Unsteered, brought: Sequence[Conversation], rows: Sequence[Row], *, learned: bool) -> LabelledSplit:
    """Label the conversations of a split, match its classes if methods learn from it, and complete the contrast.

    ``rows`` are VERDICTS rows of the unsteered model; the first of a conversation labels it. A conversation without a
    match in the other class leaves the contrast and stays in the split.
    """
    said: dict[str, list[Said]] = {}
    for row in rows:
        said.setdefault(row["conversation_id"], []).append(Said(row["reply"], row["outcome"]))
    own = [with_own_replies(conversation, said[conversation.id]) for conversation in brought]
    on_policy = {row.id for row in own if row.wanted is not None and row.unwanted is not None}
    matching = model.config.behaviour.matching
    matched = _matched(own, matching) if learned and matching is not None else _Matched(own)
    completed = _completed(model, brought, matched)
    return LabelledSplit(completed, _counts(completed, on_policy), matched.counts, matched.reason)


@dataclass(frozen=True)
class _Matched:
    """The conversations after matching, and by id the partner of each that has one."""

    conversations: Sequence[Conversation]
    partners: Mapping[str, Conversation] = field(default_factory=dict)
    counts: MatchedCounts | None = None
    reason: str = ""


def _matched(own: Sequence[Conversation], config: MatchingConfig) -> _Matched:
    contrast = {row.id: row for row in contrast_of(own)}
    positive = sum(row.label == "positive" for row in contrast.values())
    pairs: list[tuple[str, str]] = []
    reason = ""
    if 0 < positive < len(contrast):
        try:
            pairs = matched_pairs(list(contrast.values()), config)
        except DataError as error:
            reason = str(error)
    partners = {a: contrast[b] for pair in pairs for a, b in (pair, pair[::-1])}
    unmatched = contrast.keys() - partners.keys()
    conversations = [row.model_copy(update={"contrast": False}) if row.id in unmatched else row for row in own]
    counts = MatchedCounts(positive=positive, negative=len(contrast) - positive, pairs=len(pairs))
    return _Matched(conversations, partners, counts, reason)


def _completed(model: Unsteered, brought: Sequence[Conversation], matched: _Matched) -> list[Conversation]:
    """The conversations with a text of another origin where the model itself gave none, if the judge agrees with it."""
    wanted_reply = model.config.behaviour.wanted_reply
    wanting = {
        own.id: Wanting(given, side, texts_for(side, given, wanted_reply, matched.partners.get(own.id)))
        for given, own in zip(brought, matched.conversations, strict=True)
        if (side := missing_side(own)) is not None
    }
    chosen = dict(zip(wanting, model.chosen_texts(list(wanting.values())), strict=True))
    return [
        row.model_copy(update={wanting[row.id].side: chosen[row.id]}) if row.id in wanting else row
        for row in matched.conversations
    ]


def _counts(conversations: Sequence[Conversation], on_policy: set[str]) -> ContrastCounts:
    """The counts of the contrast; ``on_policy`` are the ids of all that have two replies of the model itself."""
    contrast = contrast_of(conversations)
    positive = [row for row in contrast if row.label == "positive"]
    negative = [row for row in contrast if row.label == "negative"]
    both = [row for row in contrast if row.wanted and row.unwanted]
    return ContrastCounts(
        positive=len(positive),
        negative=len(negative),
        positive_groups=len({row.group_id for row in positive}),
        negative_groups=len({row.group_id for row in negative}),
        both=len(both),
        on_policy=sum(row.id in on_policy for row in both),
    )
