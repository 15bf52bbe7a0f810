"""How the conversations got their labels: the unsteered model's own replies, what they teach, and samples of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mascing.conversations.splits import SPLITS
from mascing.report.figures.figure import Table
from mascing.report.run_evidence import Reply
from mascing.report.sections.samples import cut, drawn, shorten
from mascing.report.wording import rate_text, set_order, set_title
from mascing.schemas.conversation import Conversation
from mascing.schemas.facts import LabelFacts
from mascing.schemas.verdict import Outcome

# Samples of each outcome in each set.
_SHOWN = 3
_OUTCOMES: tuple[Outcome, ...] = ("hit", "miss", "unscored")


@dataclass(frozen=True)
class OwnReply:
    """A reply of the unsteered model to the last turn of a conversation."""

    request: str
    reply: Reply


@dataclass(frozen=True)
class OwnReplies:
    """Samples of one set, and the number of its conversations."""

    title: str
    count: int
    samples: tuple[OwnReply, ...]


def replies_table(facts: LabelFacts) -> Table:
    """Count the unsteered model's replies by split and set."""
    rows = [
        (
            f"{split}, {set_title(name)}",
            str(replies.rate.n),
            rate_text(replies.rate),
            str(replies.hits),
            str(replies.misses),
            str(replies.unscored),
            str(replies.cut_off),
        )
        for split in SPLITS
        for name, replies in sorted(facts.sets.get(split, {}).items(), key=lambda item: set_order(item[0]))
    ]
    columns = ("Split and set", "Replies", "Hits, %", "Hits", "Misses", "Unscored", "Cut off")
    return Table("Replies of the unsteered model", columns, tuple(rows))


def contrast_table(facts: LabelFacts) -> Table:
    """Count what methods learn from: the classes, their groups, and the replies of each side."""
    rows = []
    for split in SPLITS:
        if (counts := facts.contrast.get(split)) is None:
            continue
        pairs = str(facts.matching[split].pairs) if split in facts.matching else "–"
        positive = f"{counts.positive} in {counts.positive_groups} groups"
        negative = f"{counts.negative} in {counts.negative_groups} groups"
        rows.append((split, positive, negative, pairs, str(counts.both), str(counts.on_policy)))
    columns = ("Split", "Positive", "Negative", "Matched pairs", "With both replies", "Both the model's own")
    return Table("The contrast that methods learn from", columns, tuple(rows))


def agreement_sentence(facts: LabelFacts) -> str:
    """Say how far the file's labels agree with the model's own; empty if the file brought none."""
    if facts.agreement is None:
        return ""
    kappa = facts.agreement.kappa
    return (
        f"The file brings labels for {kappa.n} conversations. They agree with the model's own replies in "
        f"{100 * facts.agreement.share:.0f}% of those that could be judged (kappa {kappa.value:.2f}, 95% interval "
        f"{kappa.low:.2f} to {kappa.high:.2f}). The model's own are used."
    )


def draw_own_replies(replies: Mapping[str, Reply], conversations: Mapping[str, Conversation]) -> Sequence[OwnReplies]:
    """Draw replies of each outcome from each set, by a hash of the conversation's id."""
    names = sorted({reply.set for reply in replies.values()}, key=set_order)
    order = [replies[key] for key in drawn(replies)]
    return [_own_replies(name, [row for row in order if row.set == name], conversations) for name in names]


def _own_replies(name: str, replies: list[Reply], conversations: Mapping[str, Conversation]) -> OwnReplies:
    by_outcome = [[reply for reply in replies if reply.outcome == outcome][:_SHOWN] for outcome in _OUTCOMES]
    samples = tuple(_own_reply(reply, conversations) for part in by_outcome for reply in part)
    return OwnReplies(set_title(name), len(replies), samples)


def _own_reply(reply: Reply, conversations: Mapping[str, Conversation]) -> OwnReply:
    conversation = conversations.get(reply.conversation_id)
    request = shorten(conversation.messages[-1].content) if conversation else ""
    return OwnReply(request, cut(reply))
