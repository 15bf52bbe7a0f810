"""Whether the model's own replies leave enough to learn from, and what to do if they do not.

The minimums are what the methods need to run at all and a split needs to tell two masks apart; what the gates need is
far more, see :mod:`mascing.evidence.planning`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from mascing.prose import counted
from mascing.schemas.config import RunConfig
from mascing.schemas.conversation import Split
from mascing.schemas.facts import ContrastCounts, LabelFacts
from mascing.schemas.result import SetReplies

_UNREADABLE = 0.5
"""Share of unscored target replies from which the judge, or the token limit, is the cause to mend first."""


@dataclass(frozen=True)
class Minimum:
    """The least that a split needs: conversations of each class, their groups, and conversations with both replies."""

    conversations: int
    groups: int
    both: int


MINIMUMS: dict[Split, Minimum] = {
    "train": Minimum(conversations=8, groups=4, both=8),
    "dev": Minimum(conversations=4, groups=2, both=0),
}


def lacking(facts: LabelFacts, config: RunConfig) -> tuple[str, ...]:
    """What is missing for methods to learn from, one sentence each with what to do; empty if there is enough."""
    short = [
        sentence
        for split, minimum in MINIMUMS.items()
        for sentence in _short(split, facts.contrast[split], minimum, config)
    ]
    return (*short, _remedy(facts)) if short else ()


def doubts_of(facts: LabelFacts) -> Iterator[str]:
    """What may be wrong with the labels: replies that were cut off, and labels of the file that say otherwise."""
    if facts.cut_off is not None:
        yield facts.cut_off
    if facts.agreement is not None:
        kappa = facts.agreement.kappa
        yield (
            f"the labels in the file agree with the model's own replies in {facts.agreement.share:.0%}: kappa "
            f"{kappa.value:.2f} [{kappa.low:.2f}, {kappa.high:.2f}]; the model's own are used"
        )


def _short(split: Split, counts: ContrastCounts, minimum: Minimum, config: RunConfig) -> Iterator[str]:
    matched = "" if config.behaviour.matching is None else "matched "
    for label, n, groups in (
        ("positive", counts.positive, counts.positive_groups),
        ("negative", counts.negative, counts.negative_groups),
    ):
        if n < minimum.conversations or groups < minimum.groups:
            yield (
                f"{split}: {counted(n, f'{matched}{label} conversation')} in {counted(groups, 'group')}, at least "
                f"{minimum.conversations} in {minimum.groups} are needed"
            )
    reading = [name for name in ("gradient", "refined") if name in config.methods.searched]
    if reading and counts.both < minimum.both:
        yield (
            f"{split}: {counted(counts.both, 'conversation')} with a wanted and an unwanted reply, the method "
            f"{reading[0]} needs at least {minimum.both}"
        )


def _remedy(facts: LabelFacts) -> str:
    """What to do first, by the likeliest cause."""
    target = [sets["target"] for split, sets in facts.sets.items() if split in MINIMUMS and "target" in sets]
    replies = sum(map(_n, target))
    hits, unscored = sum(part.hits for part in target), sum(part.unscored for part in target)
    if unscored > _UNREADABLE * replies:
        if facts.cut_off is not None:
            return facts.cut_off
        return (
            f"the judge of the target reads {replies - unscored} of {replies} replies: look at the replies in the "
            "report, and try the judge on them with `mascing judge`"
        )
    if hits == replies - unscored:
        return (
            f"the model shows the wanted behaviour in all {hits} replies that were judged: there is nothing to steer "
            "here; bring harder conversations, or leave the model as it is"
        )
    if hits == 0:
        return (
            f"the model shows the wanted behaviour in none of {replies} replies: bring conversations in which it does "
            "(plainer requests of the same topics), and give `behaviour.wanted_reply`"
        )
    return _more_data(facts)


def _more_data(facts: LabelFacts) -> str:
    for split in MINIMUMS:
        if (counts := facts.matching.get(split)) is None:
            continue
        few = min(counts.positive, counts.negative)
        if split in facts.unmatched:
            return f"{split}: {facts.unmatched[split]}"
        if few >= MINIMUMS[split].conversations > counts.pairs:
            return (
                f"{split}: {counts.pairs} pairs from {counts.positive} positive and {counts.negative} negative "
                "conversations: bring conversations of both classes that are alike, or loosen `behaviour.matching`"
            )
    enough = all(
        min(counts.positive, counts.negative) >= MINIMUMS[split].conversations
        and min(counts.positive_groups, counts.negative_groups) >= MINIMUMS[split].groups
        for split, counts in facts.contrast.items()
    )
    if enough:
        return "give `behaviour.wanted_reply`, set `label.samples` to 4 or more, or turn gradient and refined off"
    return "bring more conversations, of more groups, or give the split a larger share in `splits`"


def _n(replies: SetReplies) -> int:
    return replies.rate.n
