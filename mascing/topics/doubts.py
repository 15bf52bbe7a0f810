"""Sentences that say when an expert list or a surrogate is explained by topic, or by chance, with the numbers."""

from collections.abc import Iterator

from mascing.prose import counted
from mascing.schemas.cards.topic_null import Effects, ExpertNull, ScoreNull, TopicCheck, Topics
from mascing.schemas.facts import TrainFacts

_EXPLAINED = 0.5
"""A list is explained by splits from this share of its effect on."""
_STRONGER = 0.95
"""The share of random splits than which a list must be stronger."""
_SHARED = 0.5
"""Classes that have less of their topics in common, and less than chance leaves them, are about different topics."""


def doubts(facts: TrainFacts) -> list[str]:
    """Say, in a sentence each, what of a run's experts and surrogates topic or chance explains; empty if nothing."""
    checks = topic_checks(facts).values()
    found = [sentence for check in checks if check.state != "clear" for sentence in check.sentences]
    found += [sentence for span, null in facts.experts.items() for sentence in chance_doubts(span, null)]
    return list(dict.fromkeys(found))


def clearances(facts: TrainFacts) -> list[str]:
    """Say, in a sentence each, of which spans topic explains neither the experts nor the surrogate."""
    return [each for check in topic_checks(facts).values() if check.state == "clear" for each in check.sentences]


def topic_checks(facts: TrainFacts) -> dict[str, TopicCheck]:
    """Whether topic explains the experts or the surrogate of each span; nothing of chance."""
    scores = {span: card.topic for span, card in facts.cards.items()}
    return {span: topic_check(span, null, scores.get(span)) for span, null in facts.experts.items()}


def topic_check(span: str, null: ExpertNull, score: ScoreNull | None) -> TopicCheck:
    """The same of one span; ``score`` is None if it has no surrogate."""
    explained = [*class_doubts(null.topics), *list_doubts(span, null), *(score_doubts(span, score) if score else ())]
    if explained:
        return TopicCheck(state="explained", sentences=tuple(explained))
    if null.topic is None:
        unknown = f"topic cannot be told from behaviour, as no split by topic can be made: {null.topics.missing}"
        return TopicCheck(state="unknown", sentences=(unknown,))
    return TopicCheck(state="clear", sentences=(_clear(span, null, null.topic, score),))


def _clear(span: str, null: ExpertNull, topic: Effects, score: ScoreNull | None) -> str:
    surrogate = ""
    if score is not None and score.topic is None:
        surrogate = (
            "; of the surrogate it is not known, as no class of dev has five conversations of each of two topics"
        )
    elif score is not None:
        surrogate = (
            f", nor the surrogate (AUC on dev {score.area:.3f} for the classes, {score.topic:.3f} between topics)"
        )
    return (
        f"span {span}: topic does not explain the {len(null.listed)} strongest experts ({1 - topic.of_effect:.0%} of "
        f"their effect is beyond that of {counted(topic.splits, 'split')} by topic alone){surrogate}"
    )


def class_doubts(topics: Topics) -> Iterator[str]:
    """Say when the classes share fewer topics than chance leaves them."""
    if topics.count and topics.overlap < min(_SHARED, topics.by_chance):
        yield (
            f"the classes are about different topics: they share {topics.overlap:.0%} of their {topics.count} topics "
            f"(by chance {topics.by_chance:.0%} or more), so what tells them apart may be topic. Add conversations of "
            "both classes on each topic, or leave `behaviour.matching` on, which keeps such pairs"
        )


def chance_doubts(span: str, null: ExpertNull) -> Iterator[str]:
    """Say when the strongest experts of a span are no stronger than those of random splits; nothing otherwise."""
    if null.random.weaker < _STRONGER:
        yield (
            f"span {span}: chance explains the {len(null.listed)} strongest experts: of {null.random.splits} random "
            f"splits of the same conversations, {1 - null.random.weaker:.0%} have as strong a list (mean risk "
            f"difference {null.effect:.3f}). Add conversations"
        )


def list_doubts(span: str, null: ExpertNull) -> Iterator[str]:
    """Say when splits by topic explain the strongest experts of a span; nothing otherwise."""
    if null.topic is not None and null.topic.of_effect >= _EXPLAINED:
        yield (
            f"span {span}: topic moves the {len(null.listed)} strongest experts as much as the behaviour does: "
            f"{null.topic.below:.0%} of them, with {null.topic.of_effect:.0%} of the effect, do not exceed the 95% "
            f"quantile of {null.topic.splits} splits by topic alone (mean risk difference {null.effect:.3f}). Masks of "
            "such experts may steer by topic: add conversations of both classes on each topic"
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
