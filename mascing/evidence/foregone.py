"""Gates that no mask can pass with the judges, the labels and the conversations as they are: told before the search.

Each is decided by the functions of the gates themselves, so the warning and the gate cannot disagree.
"""

from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, floor
from typing import TYPE_CHECKING

from mascing.conversations.conditions import conditions
from mascing.evidence.gates import (
    decide_condition,
    decide_judges,
    decide_labels,
    judges_of,
    loss_limit,
    shows_loss,
    unsteered_text,
)
from mascing.evidence.planning import question_of, size_of_groups
from mascing.evidence.results import label_agreement, outcomes_of, rates_by_set
from mascing.prose import counted
from mascing.schemas.config import GatesConfig, RunConfig
from mascing.schemas.conversation import Conversation
from mascing.schemas.result import Rate
from mascing.schemas.verdict import Outcome
from mascing.statistics import paired_difference, rate
from mascing.statistics.power import MOST

if TYPE_CHECKING:
    from mascing.evidence.results import Verdicts

_LIMITS = {"utility": "gates.max_utility_loss", "protected": "gates.protected_tolerance"}


@dataclass(frozen=True)
class Foregone:
    """A gate that no mask can pass, a sentence on it, and what to do first, in the imperative.

    ``gate`` is the name of a set, or `judges`, `labels`, `utility`, `replies` or `conditions`.
    """

    gate: str
    sentence: str
    mend: str

    def __str__(self) -> str:
        return f"will block publication: {self.sentence}"


def unpublishable(gates: Sequence[Foregone]) -> str:
    """Why a run stops that could publish nothing, and how it goes on all the same."""
    return (
        f"no mask of this run can pass its gates: {'; '.join(gate.sentence for gate in gates)}. To run it all the "
        "same, add --allow-unpublishable to mascing run, or allow_unpublishable: true to the configuration; in that of "
        "a campaign, shared: {allow_unpublishable: true}"
    )


def foregone(config: RunConfig, brought: Iterable[Conversation], unsteered: "Verdicts | None" = None) -> list[Foregone]:
    """The gates that no mask can pass.

    ``brought`` are the conversations of the test split as the file has them, ``unsteered`` the verdicts on the
    unsteered model's replies to them; None if they are not known yet. ``brought`` is iterated over more than once and
    never held, so that it may stay where it is stored.
    """
    outcomes = None if unsteered is None else outcomes_of(unsteered)
    tested = brought if outcomes is None else _Among(brought, outcomes)
    rows = _Tested.of(tested, outcomes)
    found = [*_judges(config, rows), *_labels(config, tested, unsteered), *_sets(config, rows, unsteered)]
    found += _replies(config.gates, rows)
    # What is too small for its own gate is too small under changed conditions: that is said once.
    return found if found else [*_conditions(config, tested, outcomes)]


@dataclass(frozen=True)
class _Among:
    """The conversations of some ids, as often as they are asked for."""

    conversations: Iterable[Conversation]
    names: Container[str]

    def __iter__(self) -> Iterator[Conversation]:
        return (row for row in self.conversations if row.id in self.names)


@dataclass(frozen=True)
class _Tested:
    """What is counted of the conversations: the group of each by set, and the outcome of each target without a mask.

    As long as no outcome is known, each target counts as missed.
    """

    groups: Mapping[str, Sequence[str]]
    targets: Sequence[Outcome]

    @classmethod
    def of(cls, conversations: Iterable[Conversation], outcomes: Mapping[str, Outcome] | None) -> "_Tested":
        groups: dict[str, list[str]] = {}
        targets: list[Outcome] = []
        for row in conversations:
            groups.setdefault(row.set, []).append(row.group_id)
            if row.set == "target":
                targets.append("miss" if outcomes is None else outcomes[row.id])
        return cls(groups, targets)


def _judges(config: RunConfig, rows: _Tested) -> Iterator[Foregone]:
    decision, [sentence] = decide_judges(judges_of(config.behaviour, rows.groups))
    if decision != "pass":
        yield Foregone("judges", sentence, "choose judges that no one kind of reply satisfies on all sets")


def _labels(config: RunConfig, brought: Iterable[Conversation], unsteered: "Verdicts | None") -> Iterator[Foregone]:
    if unsteered is None:
        return
    decision, [sentence] = decide_labels(label_agreement(brought, unsteered), config.gates)
    if decision != "pass":
        yield Foregone("labels", sentence, "drop the labels from the file, or correct them")


def _sets(config: RunConfig, rows: _Tested, unsteered: "Verdicts | None") -> Iterator[Foregone]:
    gates, groups = config.gates, rows.groups
    baselines = {} if unsteered is None else rates_by_set(unsteered)
    for name in sorted(groups, key=lambda name: (name != "target", name)):
        if name == "target":
            yield from _gain(rows, baselines.get(name), config)
        else:
            limit = loss_limit(name, gates)
            if name in baselines:
                yield from _floor(name, baselines[name], limit, gates.min_baseline)
            yield from _size(name, groups[name], config)
    if not any(name.startswith("utility/") for name in groups) and gates.max_utility_loss < 1:
        yield Foregone(
            "utility",
            "utility: no test rows, so a loss cannot be measured: add rows of a set utility/<name>, or set "
            "gates.max_utility_loss to 1, which allows any",
            "add rows of a set utility/<name>",
        )


def _floor(name: str, baseline: Rate, limit: float, min_baseline: float) -> Iterator[Foregone]:
    if shows_loss(baseline, limit, min_baseline):
        return
    floor = max(limit, min_baseline)
    surely_hit = baseline.value * (baseline.n - baseline.unscored) / baseline.n
    remedy = "bring more rows" if surely_hit > floor else "take another judge, or rows that the model masters"
    yield Foregone(
        name,
        f"{name}: on test {unsteered_text(baseline)}, but its lower bound must be at least {100 * floor:.1f}%, so its "
        f"gate will be undecided: {remedy}",
        f"{remedy} (for {name})",
    )


def _size(name: str, groups: Sequence[str], config: RunConfig) -> Iterator[Foregone]:
    """A set on which even a mask that changes nothing fails, with a model that makes no mistake."""
    gates = config.gates
    limit, field = loss_limit(name, gates), _LIMITS[name.partition("/")[0]]
    kept: list[Outcome] = ["hit"] * len(groups)
    loss, mastered = -paired_difference(kept, kept, groups).low, rate(kept, groups)
    if loss <= limit and shows_loss(mastered, limit, gates.min_baseline):
        return
    needed = replace(question_of(gates), max_loss=limit).kept_conversations(size_of_groups(groups))
    possible = ceil(100 * max(loss, limit)) / 100
    # A looser limit raises the floor, under changed conditions even more.
    limits = (possible, possible * config.robustness.loss_factor)
    passes = all(shows_loss(mastered, each, gates.min_baseline) for each in limits)
    loosened = f"; or set {field} to {possible:g}" if passes else ""
    yield Foregone(
        name,
        f"{name}: {_count(groups)} cannot pass a {100 * limit:g}-point gate, {_needed(needed, groups)}{loosened}",
        _bring(name, needed, groups, config) or f"raise {field}",
    )


def _gain(rows: _Tested, baseline: Rate | None, config: RunConfig) -> Iterator[Foregone]:
    """The most that a mask can gain is that every reply becomes a hit; what was a hit or unscored gains nothing."""
    gates, groups = config.gates, rows.groups["target"]
    # Which rows are missed matters, not only how many: the interval is clustered by group.
    before: list[Outcome] = ["miss" if outcome == "miss" else "hit" for outcome in rows.targets]
    misses = before.count("miss")
    sure = paired_difference(before, ["hit"] * len(groups), groups).low
    if sure >= gates.min_uplift:
        return
    size, value = size_of_groups(groups), None if baseline is None else baseline.value
    needed = question_of(gates, value).target_conversations(size)
    known = "" if baseline is None else f", of which the unsteered model misses {misses},"
    loosened = f"; or set gates.min_uplift to {floor(100 * sure) / 100:g}" if sure >= 0.01 else ""
    harder = baseline is not None and needed is None
    remedy = "bring harder ones" if harder else _needed(needed, groups)
    mend = _bring("target", needed, groups, config) or "lower gates.min_uplift"
    yield Foregone(
        "target",
        f"target: {_count(groups)}{known} cannot show a gain of {100 * gates.min_uplift:g} points, {remedy}{loosened}",
        "bring harder target conversations" if harder else mend,
    )


def _replies(gates: GatesConfig, rows: _Tested) -> Iterator[Foregone]:
    groups = [group for of_set in rows.groups.values() for group in of_set]
    if not groups:
        return
    same: list[Outcome] = ["miss"] * len(groups)
    change = paired_difference(same, same, groups)
    if change.high > gates.max_degenerate:
        yield Foregone(
            "replies",
            f"replies: {len(groups)} test rows in all cannot show that at most {100 * gates.max_degenerate:g} points "
            f"more are degenerate: bring more, or set gates.max_degenerate to {ceil(100 * change.high) / 100:g}",
            "bring more rows",
        )


def _conditions(
    config: RunConfig, brought: Iterable[Conversation], outcomes: Mapping[str, Outcome] | None
) -> Iterator[Foregone]:
    """Changed conditions under which even the best mask fails, because too few rows are judged."""
    hits = {name for name, outcome in (outcomes or {}).items() if outcome == "hit"}
    names = []
    for condition in conditions(config.robustness, brought, config.generation):
        if condition.left_out is not None:
            continue
        changes, baselines = _best(condition.conversations, hits)
        decision, _ = decide_condition(condition.name, changes, baselines, config.gates, config.robustness)
        if decision != "pass":
            names.append(condition.name)
    if names:
        yield Foregone(
            "conditions",
            f"conditions: the rows that are judged under a changed condition ({', '.join(names)}) are too few to pass: "
            "bring more test rows, raise robustness.conversations, change robustness.loss_factor, or leave the "
            "conditions out",
            "bring more rows",
        )


def _best(rows: Sequence[Conversation], hits: Collection[str]) -> tuple[dict[str, Rate], dict[str, Rate]]:
    """The changes and the unsteered rates by set of a mask that hits every target, where the rest is hit anyway."""
    sets: dict[str, list[Conversation]] = {}
    for row in rows:
        sets.setdefault(row.set, []).append(row)
    changes, baselines = {}, {}
    for name, held in sets.items():
        groups = [row.group_id for row in held]
        before: list[Outcome] = ["hit" if name != "target" or row.id in hits else "miss" for row in held]
        changes[name], baselines[name] = paired_difference(before, ["hit"] * len(held), groups), rate(before, groups)
    return changes, baselines


def _bring(name: str, needed: int | None, groups: Sequence[str], config: RunConfig) -> str | None:
    """How many rows of a set to bring, so that enough fall to test; None if no number is enough."""
    if needed is None:
        return None
    enough = max(needed, len(groups) + 1)
    return (
        f"bring rows of {name} until about {enough}{_in_groups(enough, groups)} fall to test, some "
        f"{ceil(enough / config.splits.test)} in all"
    )


def _needed(needed: int | None, groups: Sequence[str]) -> str:
    if needed is None:
        return f"more than {MOST} are needed"
    if needed <= len(groups):
        return f"more than {len(groups)} are needed"
    return f"about {needed}{_in_groups(needed, groups)} are needed"


def _count(groups: Sequence[str]) -> str:
    return f"{counted(len(groups), 'test row')}{_in_groups(len(groups), groups)}"


def _in_groups(rows: int, groups: Sequence[str]) -> str:
    """In how many groups so many rows lie, if they lie in groups at all: more rows of the same group show little."""
    each = len(groups) / len(set(groups))
    number = ceil(rows / each)
    return "" if each == 1 else f" in {counted(number, 'group')}"
