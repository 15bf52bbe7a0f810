"""What the conversations of a run allow: whether its test sets can pass the gates, by the simulation of a plan."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from mascing.evidence.planning import Question, size_of_groups
from mascing.prose import counted
from mascing.schemas.conversation import Conversation, Split
from mascing.statistics.power import MOST


def prospects(
    question: Question, test: Sequence[Conversation], protected_loss: float, blocked: Collection[str] = ()
) -> Iterator[str]:
    """Yield a line for each set of the test split: how many conversations it has, and how many it takes.

    ``protected_loss`` is the limit of protected sets, in place of the question's, which is that of utility sets.
    ``blocked`` are sets whose gate no mask can pass, so that their number is not enough.
    """
    protected = replace(question, max_loss=protected_loss)
    sets: dict[str, list[str]] = {"target": []}
    for conversation in test:
        sets.setdefault(conversation.set, []).append(conversation.group_id)
    assumed = "" if question.known else " (assumed: `mascing label` measures it)"
    yield (
        f"test split, for a mask that gains {100 * question.uplift:g} points on a target rate of "
        f"{100 * question.baseline:.0f}%{assumed} and loses {100 * question.utility_lost:g} elsewhere, with power "
        f"{question.power:.0%}:"
    )
    for name, groups in sorted(sets.items(), key=lambda item: (item[0] != "target", item[0])):
        line = _prospect(protected if name.startswith("protected/") else question, name, groups)
        yield f"  {name}: {line.replace('enough', 'enough, but no mask passes') if name in blocked else line}"


def too_few(lines: Iterable[str]) -> list[str]:
    """The sets that have too few conversations by the lines of `prospects`."""
    return [line.partition(":")[0].strip() for line in lines if line.endswith("too few")]


@dataclass(frozen=True)
class Held:
    """The target conversations of a split, and the number of their groups."""

    conversations: int
    groups: int


def of_each_split(targets: Mapping[Split, Held]) -> Iterator[str]:
    """Yield a line for each split: its target conversations and their groups."""
    for split, held in targets.items():
        yield f"  {split}: {_in_groups(held.conversations, 'target conversation', held.groups)}"


def _prospect(question: Question, name: str, groups: Sequence[str]) -> str:
    if not groups:
        return "no conversations: add some, or give the test split a larger share"
    size, held = size_of_groups(groups), _in_groups(len(groups), "conversation", len(set(groups)))
    if name == "target" and question.uplift <= question.min_uplift:
        asked = f"{100 * question.min_uplift:g} points"
        if not question.known:
            return f"{held}, but no mask gains more than the {asked} of gates.min_uplift: lower it"
        return (
            f"{held}, but the unsteered model hits {100 * question.baseline:.0f}% already, which leaves no room for "
            f"more than {asked}: too few misses"
        )
    needed = question.target_conversations(size) if name == "target" else question.kept_conversations(size)
    if needed is None:
        return f"{held}, more than {MOST} needed: too few"
    return f"{held}, about {needed} needed: {'enough' if len(groups) >= needed else 'too few'}"


def _in_groups(n: int, what: str, groups: int) -> str:
    return f"{counted(n, what)} in {counted(groups, 'group')}"
