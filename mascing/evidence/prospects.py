"""What the conversations of a run allow: whether its test sets can pass the gates, by the simulation of a plan."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from mascing.evidence.planning import Question, size_of_groups
from mascing.prose import counted
from mascing.schemas.conversation import Conversation, Split
from mascing.statistics.power import MOST


@dataclass(frozen=True)
class Prospect:
    """How many conversations a set of the test split has, and how many it takes, in words."""

    name: str
    sentence: str
    too_few: bool = False

    def __str__(self) -> str:
        return f"{self.name}: {self.sentence}"


@dataclass(frozen=True)
class Prospects:
    """The prospect of each set, under a heading that says for which effect."""

    heading: str
    sets: tuple[Prospect, ...]

    @property
    def lines(self) -> list[str]:
        """All of it, a line each."""
        return [self.heading, *(f"  {each}" for each in self.sets)]

    @property
    def too_few(self) -> list[Prospect]:
        """Those that have too few conversations."""
        return [each for each in self.sets if each.too_few]


def prospects(
    question: Question, test: Sequence[Conversation], protected_loss: float, blocked: Collection[str] = ()
) -> Prospects:
    """Say of each set of the test split how many conversations it has, and how many it takes.

    ``protected_loss`` is the limit of protected sets, in place of the question's, which is that of utility sets.
    ``blocked`` are sets whose gate no mask can pass, so that their number is not enough.
    """
    protected = replace(question, max_loss=protected_loss)
    sets: dict[str, list[str]] = {"target": []}
    for conversation in test:
        sets.setdefault(conversation.set, []).append(conversation.group_id)
    assumed = "" if question.known else " (assumed: `mascing label` measures it)"
    heading = (
        f"test split, for a mask that gains {100 * question.uplift:g} points on a target rate of "
        f"{100 * question.baseline:.0f}%{assumed} and loses {100 * question.utility_lost:g} elsewhere, with power "
        f"{question.power:.0%}:"
    )
    in_order = sorted(sets.items(), key=lambda item: (item[0] != "target", item[0]))
    return Prospects(
        heading,
        tuple(
            _prospect(protected if name.startswith("protected/") else question, name, groups, name in blocked)
            for name, groups in in_order
        ),
    )


@dataclass(frozen=True)
class Held:
    """The target conversations of a split, and the number of their groups."""

    conversations: int
    groups: int


def of_each_split(targets: Mapping[Split, Held]) -> Iterator[str]:
    """Yield a line for each split: its target conversations and their groups."""
    for split, held in targets.items():
        yield f"  {split}: {_in_groups(held.conversations, 'target conversation', held.groups)}"


def _prospect(question: Question, name: str, groups: Sequence[str], blocked: bool) -> Prospect:
    if not groups:
        return Prospect(name, "no conversations: add some, or give the test split a larger share")
    size, held = size_of_groups(groups), _in_groups(len(groups), "conversation", len(set(groups)))
    if name == "target" and question.uplift <= question.min_uplift:
        asked = f"{100 * question.min_uplift:g} points"
        if not question.known:
            return Prospect(name, f"{held}, but no mask gains more than the {asked} of gates.min_uplift: lower it")
        return Prospect(
            name,
            f"{held}, but the unsteered model hits {100 * question.baseline:.0f}% already, which leaves no room for "
            f"more than {asked}: too few misses",
        )
    needed = question.target_conversations(size) if name == "target" else question.kept_conversations(size)
    if needed is None:
        return Prospect(name, f"{held}, more than {MOST} needed: too few", too_few=True)
    if len(groups) < needed:
        return Prospect(name, f"{held}, about {needed} needed: too few", too_few=True)
    return Prospect(name, f"{held}, about {needed} needed: enough{', but no mask passes' if blocked else ''}")


def _in_groups(n: int, what: str, groups: int) -> str:
    return f"{counted(n, what)} in {counted(groups, 'group')}"
