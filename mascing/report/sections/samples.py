"""Replies before and after, drawn by a hash of the conversation's id, so that nobody picks them by hand."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import accumulate

from mascing.report.figures.figure import Table
from mascing.report.looks import in_order
from mascing.report.run_evidence import Reply
from mascing.report.wording import set_order, set_title
from mascing.schemas.conversation import Conversation, Message

# Most samples of each kind in each set.
_SHOWN = {"gained": 12, "lost": 12, "reworded": 8, "unchanged": 4}
# Most characters that the samples of all sets hold together; every kind has one sample, whatever its length.
_CHARACTERS = 250_000
_KINDS = {
    "gained": "Gained: a hit only with the mask",
    "lost": "Lost: a hit only without the mask",
    "reworded": "Reworded: a different reply, no hit gained or lost",
    "unchanged": "Unchanged: the same reply",
}
_LONGEST = 1500


@dataclass(frozen=True)
class Sample:
    """One conversation with the model's unsteered and steered replies."""

    conversation_id: str
    earlier: tuple[Message, ...]
    last: Message | None
    wanted: str | None
    before: Reply
    after: Reply

    @property
    def characters(self) -> int:
        """The length of all that is shown of it."""
        messages = (*self.earlier, *([self.last] if self.last else []))
        replies = (self.before, self.after)
        return sum(len(message.content) for message in messages) + sum(
            len(reply.text) + len(reply.thought or "") + len(reply.reason) + len(reply.raw or "") for reply in replies
        )


@dataclass(frozen=True)
class SampleGroup:
    """Samples of one kind of change, and the total number of such conversations."""

    title: str
    count: int
    samples: tuple[Sample, ...]


@dataclass(frozen=True)
class SampleSet:
    """The samples of one set, and the number of its conversations."""

    name: str
    count: int
    groups: tuple[SampleGroup, ...]

    @property
    def title(self) -> str:
        """The name of the set on the page."""
        return set_title(self.name)


def draw_samples(
    before: Mapping[str, Reply], after: Mapping[str, Reply], conversations: Mapping[str, Conversation]
) -> list[SampleSet]:
    """Draw for each set replies that the mask changed, for better or worse, and replies that it left unchanged.

    All mappings are by conversation id. A conversation missing from ``conversations`` shows only its replies.
    """
    shared = drawn(key for key in before if key in after)
    names = sorted({before[key].set for key in shared}, key=set_order)
    room = _CHARACTERS // max(1, len(names) * len(_KINDS))
    return [
        _sample_set(name, [key for key in shared if before[key].set == name], before, after, conversations, room)
        for name in names
    ]


def movement_table(replies: Mapping[str, Mapping[str, Reply]]) -> Table:
    """Count the replies of each set that every method's mask changed, by direction.

    ``replies`` maps a method (``baseline`` among them) to its judged replies by conversation id.
    """
    before = replies.get("baseline", {})
    rows = []
    for method in in_order(replies.keys() - {"baseline"}):
        after = replies[method]
        for name in sorted({row.set for row in before.values()}, key=set_order):
            keys = [key for key, row in before.items() if row.set == name and key in after]
            counts = Counter(_kind(before[key], after[key]) for key in keys)
            rows.append((method, set_title(name), *(str(counts[kind]) for kind in _KINDS), str(len(keys))))
    columns = ("Method", "Set", *(kind.capitalize() for kind in _KINDS), "Conversations")
    methods = {method for method, *_ in rows}
    whose = f"the {methods.pop()} mask" if len(methods) == 1 else "each mask"
    return Table(f"Replies changed by {whose}", columns, tuple(rows))


def _sample_set(
    name: str,
    keys: list[str],
    before: Mapping[str, Reply],
    after: Mapping[str, Reply],
    conversations: Mapping[str, Conversation],
    room: int,
) -> SampleSet:
    """Draw the samples of a set; those of each kind take ``room`` characters at most."""
    kinds = {key: _kind(before[key], after[key]) for key in keys}
    counts = Counter(kinds.values())
    groups = []
    for kind, title in _KINDS.items():
        shown = [key for key in keys if kinds[key] == kind][: _SHOWN[kind]]
        samples = [_sample(key, before[key], after[key], conversations.get(key)) for key in shown]
        groups.append(SampleGroup(title, counts[kind], tuple(_fitting(samples, room))))
    return SampleSet(name, len(keys), tuple(groups))


def _fitting(samples: list[Sample], room: int) -> list[Sample]:
    ends = accumulate(sample.characters for sample in samples)
    return [sample for number, (sample, end) in enumerate(zip(samples, ends, strict=True)) if end <= room or not number]


def _kind(before: Reply, after: Reply) -> str:
    if before.outcome != after.outcome and "hit" in (before.outcome, after.outcome):
        return "gained" if after.outcome == "hit" else "lost"
    return "unchanged" if before.text == after.text else "reworded"


def _sample(key: str, before: Reply, after: Reply, conversation: Conversation | None) -> Sample:
    messages = () if conversation is None else tuple(_shortened(message) for message in conversation.messages)
    wanted = shorten(conversation.wanted) if conversation is not None and conversation.wanted else None
    return Sample(key, messages[:-1], messages[-1] if messages else None, wanted, cut(before), cut(after))


def _shortened(message: Message) -> Message:
    return Message(role=message.role, content=shorten(message.content))


def cut(reply: Reply) -> Reply:
    """Shorten the text and the thought of a reply, and what its judge said."""
    thought, raw = (shorten(text) if text is not None else None for text in (reply.thought, reply.raw))
    return replace(reply, text=shorten(reply.text), thought=thought, raw=raw)


def shorten(text: str) -> str:
    """Cut the text after 1500 characters, with a note that says so."""
    if len(text) <= _LONGEST:
        return text
    return f"{text[:_LONGEST]}… [cut here; {len(text)} characters in all]"


def drawn(conversation_ids: Iterable[str]) -> list[str]:
    """Put conversations in the order in which samples are drawn from them."""
    return sorted(conversation_ids, key=lambda name: sha256(name.encode()).hexdigest())
