"""The rows of a run: what each split and set holds, what is set aside and why, and whether a run can go on with it."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from mascing.catalogue.inputs import inputs_of
from mascing.conversations.intake.reader import Reading, nothing_left
from mascing.conversations.intake.reasons import summary
from mascing.conversations.intake.rows import Quarantined, Used
from mascing.conversations.splits import SPLITS, split_of
from mascing.errors import DataError
from mascing.judges.given_replies import given_by, given_replies, merged, refuse_misread
from mascing.judges.table import kind_of
from mascing.preflight.lengths import Lengths
from mascing.preflight.usable import Complaints, refused
from mascing.schemas.config import BehaviourConfig, RunConfig
from mascing.schemas.conversation import Conversation, Message, Split
from mascing.schemas.facts import GivenReplies
from mascing.schemas.settings.generation_settings import GenerationConfig

_BATCH = 1024


@dataclass
class Rows:
    """The rows of a file: counts by split and set, the usable ones of the test split, and those that are set aside.

    ``replies`` counts what the usable conversations are answered with: one reply each, or to a live one as many as it
    has user turns. ``longest`` is the longest usable conversation of each set, as it can become, and ``most_replies``
    the most that one of them has. ``texts`` are the replies that the file gives, and ``longest_text`` their longest by
    set.

    ``read`` counts the rows that are conversations, usable with this model and these judges or not.
    """

    reading: Reading
    quarantined: list[Quarantined] = field(default_factory=list)
    sets: dict[Split, Counter[str]] = field(default_factory=lambda: {split: Counter() for split in SPLITS})
    groups: dict[Split, dict[str, set[int]]] = field(default_factory=lambda: {split: {} for split in SPLITS})
    test: list[Conversation] = field(default_factory=list)
    replies: dict[Split, Counter[str]] = field(default_factory=lambda: {split: Counter() for split in SPLITS})
    longest: dict[str, Conversation] = field(default_factory=dict)
    most_replies: Counter[str] = field(default_factory=Counter)
    texts: Counter[str] = field(default_factory=Counter)
    longest_text: dict[str, str] = field(default_factory=dict)
    given: tuple[GivenReplies, ...] = ()
    read: int = 0

    @property
    def used(self) -> int:
        """Number of rows that can be used."""
        return sum(sets.total() for sets in self.sets.values())

    @property
    def total(self) -> int:
        """Number of rows."""
        return self.used + len(self.quarantined)

    def sort(
        self, batch: Iterable[Used | Quarantined], config: RunConfig, complaints: Complaints
    ) -> Iterator[Conversation]:
        """Count a batch of rows; yields the usable ones."""
        for row in batch:
            if isinstance(row, Quarantined):
                self.quarantined.append(row)
                continue
            self.read += 1
            if (refusal := refused(row, complaints)) is not None:
                self.quarantined.append(refusal)
                continue
            conversation, split = row.conversation, split_of(row.conversation.group_id, config.splits)
            self.sets[split][conversation.set] += 1
            replies = 1 if config.generation.turns == "last_turn" else conversation.turns
            self.replies[split][conversation.set] += replies
            self.most_replies[conversation.set] = max(self.most_replies[conversation.set], replies)
            self.groups[split].setdefault(conversation.set, set()).add(hash(conversation.group_id))
            self._measure(config, conversation)
            if split == "test":
                self.test.append(conversation)
            yield conversation

    def _measure(self, config: RunConfig, conversation: Conversation) -> None:
        """Keep what is longest of a set."""
        name, asked = conversation.set, _replayed(config.generation, conversation)
        self.longest[name] = max(self.longest.get(name, asked), asked, key=_size)
        texts = [text for text in given_by(conversation).values() if text]
        self.texts[name] += len(texts)
        self.longest_text[name] = max((self.longest_text.get(name, ""), *texts), key=len)

    def problems(self, config: RunConfig) -> Iterator[str]:
        """What a run cannot go on with, one sentence each."""
        if not self.used:
            yield nothing_usable(self.quarantined, self.read, self.reading.unit)
            return
        if len(self.quarantined) > config.max_quarantined * self.total:
            yield (
                f"{len(self.quarantined)} of {self.total} rows cannot be used, more than max_quarantined "
                f"({100 * config.max_quarantined:g}%) allows: {summary(self.quarantined, self.reading.unit)}; mend "
                "them, or raise max_quarantined"
            )
        try:
            refuse_misread(self.given, config.max_quarantined)
        except DataError as error:
            yield str(error)
        for split, sets in self.sets.items():
            if (lacking := no_target(split, sets, config.behaviour.origin)) is not None:
                yield lacking
        yield from lost_sets(config.behaviour, self.sets)


def read_rows(config: RunConfig, complaints: Complaints, lengths: Lengths | None) -> Rows:
    """Read all rows of a run. Raises DataError if the file cannot be read or shows no layout."""
    behaviour = config.behaviour
    rows = Rows(Reading(inputs_of(behaviour), behaviour.max_characters))
    made = rows.reading.rows({})
    given: list[GivenReplies] = []
    while batch := list(islice(made, _BATCH)):
        kept = [*rows.sort(batch, config, complaints)]
        if lengths is not None:
            lengths.add(kept)
        given += given_replies(behaviour, [row for row in kept if _is_judged_here(config, row)])
    rows.given = merged(given)
    return rows


def nothing_usable(quarantined: Sequence[Quarantined], read: int, unit: str) -> str:
    """Why no row can be used; ``read`` of them are conversations that only this model or these judges cannot use."""
    if not read:
        return nothing_left(quarantined, unit)
    return f"no conversation can be used with this model: {summary(quarantined, unit)}"


def no_target(split: Split, sets: Mapping[str, int], path: str) -> str | None:
    """What to do about a split without target conversations; None if it has some."""
    if sets.get("target"):
        return None
    return (
        f"the {split} split of {path} has no conversation of set `target`: add conversations of more groups, or "
        f"give `splits.{split}` a larger share"
    )


def lost_sets(behaviour: BehaviourConfig, sets: Mapping[Split, Mapping[str, int]]) -> Iterator[str]:
    """What to do about sets of which every row was set aside, so that no gate would miss them."""
    if isinstance(behaviour.conversations, str):
        return
    named = {source.set for source in behaviour.conversations if source.set is not None}
    for lost in sorted(name for name in named if not any(of_split.get(name) for of_split in sets.values())):
        yield (
            f"no row of set {lost} can be used, so no gate would look at it: see why they are set aside (over-long "
            f"ones by behaviour.max_characters, {behaviour.max_characters}), or leave its source out"
        )


def _is_judged_here(config: RunConfig, conversation: Conversation) -> bool:
    """Whether rules judge the replies: another judge may load a model or ask a server, so it is left to the run."""
    return kind_of(config.behaviour.judge_of(conversation.set)).by_rules


def _replayed(generation: GenerationConfig, conversation: Conversation) -> Conversation:
    """The conversation as its judge reads it: the model's replies in a live one, each as long as its limit lets it be.

    A token counts as four letters.
    """
    if generation.turns == "last_turn":
        return conversation
    own = Message(role="assistant", content="word" * generation.max_new_tokens)
    spoken = (turn for turn in conversation.messages if turn.role != "assistant")
    turns = [each for turn in spoken for each in ((turn, own) if turn.role == "user" else (turn,))]
    return conversation.model_copy(update={"messages": tuple(turns[:-1])})


def _size(conversation: Conversation) -> int:
    return sum(len(turn.content) for turn in conversation.messages) + sum(map(len, conversation.accepted))
