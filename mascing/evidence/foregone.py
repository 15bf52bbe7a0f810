"""Gates that no mask can pass with the judges, the labels and the conversations as they are: told before the search.

Each is decided by the functions of the gates themselves, so the warning and the gate cannot disagree.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mascing.evidence.gates import decide_judges, decide_labels, judges_of, loss_limit, shows_loss, unsteered_text
from mascing.evidence.results import label_agreement, rates_by_set
from mascing.schemas.config import GatesConfig, RunConfig
from mascing.schemas.conversation import Conversation
from mascing.schemas.result import Rate
from mascing.schemas.verdict import Outcome
from mascing.statistics import paired_difference

Row = Mapping[str, Any]
"""A row of the VERDICTS table (schemas/tables.py)."""


@dataclass(frozen=True)
class Foregone:
    """A gate that no mask can pass: its name, which is `judges`, `labels` or a set's, and a sentence on it."""

    gate: str
    sentence: str

    def __str__(self) -> str:
        return f"will block publication: {self.sentence}"


def foregone(
    config: RunConfig, brought: Sequence[Conversation], unsteered: Sequence[Row] | None = None
) -> list[Foregone]:
    """The gates that no mask can pass.

    ``brought`` are the conversations of the test split as the file has them, ``unsteered`` the verdicts on the
    unsteered model's replies to them; None if they are not known yet.
    """
    if unsteered is not None:
        replied = {row["conversation_id"] for row in unsteered}
        brought = [row for row in brought if row.id in replied]
    return [*_judges(config, brought), *_labels(config, brought, unsteered), *_sets(config.gates, brought, unsteered)]


def _judges(config: RunConfig, brought: Sequence[Conversation]) -> Iterator[Foregone]:
    decision, [sentence] = decide_judges(judges_of(config.behaviour, {row.set for row in brought}))
    if decision != "pass":
        yield Foregone("judges", sentence)


def _labels(config: RunConfig, brought: Sequence[Conversation], unsteered: Sequence[Row] | None) -> Iterator[Foregone]:
    if unsteered is None:
        return
    decision, [sentence] = decide_labels(label_agreement(brought, unsteered), config.gates)
    if decision != "pass":
        yield Foregone("labels", sentence)


def _sets(gates: GatesConfig, brought: Sequence[Conversation], unsteered: Sequence[Row] | None) -> Iterator[Foregone]:
    baselines = {} if unsteered is None else rates_by_set(unsteered)
    groups: dict[str, list[str]] = {}
    for row in brought:
        groups.setdefault(row.set, []).append(row.group_id)
    for name in sorted(groups, key=lambda name: (name != "target", name)):
        if name == "target":
            yield from _gain(groups[name], baselines.get(name), gates.min_uplift)
        else:
            limit = loss_limit(name, gates)
            if name in baselines:
                yield from _floor(name, baselines[name], limit, gates.min_baseline)
            yield from _size(name, groups[name], limit)


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
    )


def _size(name: str, groups: Sequence[str], limit: float) -> Iterator[Foregone]:
    kept: list[Outcome] = ["hit"] * len(groups)
    if -paired_difference(kept, kept, groups).low > limit:
        yield Foregone(
            name,
            f"{name}: {_count(groups)} cannot pass a {100 * limit:g}-point gate whatever the mask does: bring "
            "more rows",
        )


def _gain(groups: Sequence[str], baseline: Rate | None, minimum: float) -> Iterator[Foregone]:
    """The most that a mask can gain is that every reply becomes a hit; what was a hit or unscored gains nothing."""
    misses = len(groups) if baseline is None else round((1 - baseline.value) * (baseline.n - baseline.unscored))
    before: list[Outcome] = ["miss" if number < misses else "hit" for number in range(len(groups))]
    if paired_difference(before, ["hit"] * len(groups), groups).low < minimum:
        known = "" if baseline is None else f", of which the unsteered model misses {misses},"
        yield Foregone(
            "target",
            f"target: {_count(groups)}{known} cannot show a gain of {100 * minimum:g} points whatever the mask does: "
            "bring more rows, or harder ones",
        )


def _count(groups: Sequence[str]) -> str:
    return "1 test conversation" if len(groups) == 1 else f"{len(groups)} test conversations"
