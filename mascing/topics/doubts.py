"""Sentences that say when an expert list or a surrogate is explained by topic, or by chance, with the numbers."""

from collections.abc import Iterator

from mascing.schemas.cards.topic_null import ExpertNull, ScoreNull, Topics
from mascing.schemas.facts import TrainFacts

_EXPLAINED = 0.5
"""A list is explained by splits from this share of its effect on."""
_STRONGER = 0.95
"""The share of random splits than which a list must be stronger."""
_SHARED = 0.5
"""Classes that have less of their topics in common, and less than chance leaves them, are about different topics."""


def doubts(facts: TrainFacts) -> list[str]:
    """Say, in a sentence each, what of a run's experts and surrogates topic or chance explains; empty if nothing."""
    found = [sentence for null in list(facts.experts.values())[:1] for sentence in topic_doubts(null.topics)]
    found += [sentence for span, null in facts.experts.items() for sentence in list_doubts(span, null)]
    for span, card in facts.cards.items():
        found += score_doubts(span, card.topic) if card.topic else ()
    return found


def topic_doubts(topics: Topics) -> Iterator[str]:
    """Say when topic cannot be told from behaviour: no split by topic can be made, or the classes share no topics."""
    if topics.missing:
        yield f"topic cannot be told from behaviour, as no split by topic can be made: {topics.missing}"
    if topics.count and topics.overlap < min(_SHARED, topics.by_chance):
        yield (
            f"the classes are about different topics: they share {topics.overlap:.0%} of their {topics.count} topics "
            f"(by chance {topics.by_chance:.0%} or more), so what tells them apart may be topic. Add conversations of "
            "both classes on each topic, or leave `behaviour.matching` on, which keeps such pairs"
        )


def list_doubts(span: str, null: ExpertNull) -> Iterator[str]:
    """Say what beside the behaviour explains the strongest experts of a span; nothing if nothing does."""
    listed, size = len(null.listed), f"mean risk difference {null.effect:.3f}"
    if null.random.weaker < _STRONGER:
        yield (
            f"span {span}: chance explains the {listed} strongest experts: of {null.random.splits} random splits of "
            f"the same conversations, {1 - null.random.weaker:.0%} have as strong a list ({size}). Add conversations"
        )
    if null.topic is not None and null.topic.of_effect >= _EXPLAINED:
        yield (
            f"span {span}: topic moves the {listed} strongest experts as much as the behaviour does: "
            f"{null.topic.below:.0%} of them, with {null.topic.of_effect:.0%} of the effect, do not exceed the 95% "
            f"quantile of {null.topic.splits} splits by topic alone ({size}). Masks of such experts may steer by "
            "topic: trust their effect on replies and not the list, or add conversations of both classes on each topic"
        )


def score_doubts(span: str, null: ScoreNull) -> Iterator[str]:
    """Say when a surrogate tells topics apart as well as it tells the classes apart; nothing otherwise."""
    if null.topic is not None and null.area <= null.topic:
        yield (
            f"span {span}: the surrogate tells topics apart as well as the behaviour: its AUC on dev is "
            f"{null.area:.3f} for the classes, and up to {null.topic:.3f} between two topics of one class (95% "
            f"quantile of {null.splits} pairs). A mask found through it may steer by topic: add conversations of both "
            "classes on each topic"
        )
