"""Whether a mask does worse than before, and whether a candidate may take the place of the mask that is served.

As with the gates of a publication, doubt counts against a promotion: what cannot be decided blocks it. An alarm about
the mask that is served is the other way round: it takes certainty.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mascing.evidence.gates import WORDS, Decision, all_of, signed
from mascing.schemas.result import Gate, Rate
from mascing.schemas.verdict import Outcome
from mascing.statistics import holm, paired_difference, paired_p

_ALPHA = 0.05


Row = Mapping[str, Any]
"""A row of the VERDICTS table (schemas/tables.py)."""


@dataclass(frozen=True)
class Paired:
    """The outcomes of one set before and after, on the conversations that both have, and their groups."""

    before: tuple[Outcome, ...]
    after: tuple[Outcome, ...]
    groups: tuple[str, ...]

    @property
    def change(self) -> Rate:
        """How much higher the rate is after."""
        return paired_difference(self.before, self.after, self.groups)


def paired_by_set(before: Iterable[Row], after: Iterable[Row]) -> dict[str, Paired]:
    """Pair two judgements by conversation, by set; a set without a common conversation is missing."""
    known = {(row["set"], row["conversation_id"]): row["outcome"] for row in before}
    pairs: dict[str, list[tuple[Outcome, Outcome, str]]] = {}
    for row in sorted(after, key=lambda row: (row["set"] != "target", row["set"], row["conversation_id"])):
        if (earlier := known.get((row["set"], row["conversation_id"]))) is not None:
            pairs.setdefault(row["set"], []).append((earlier, row["outcome"], row["group_id"]))
    return {name: Paired(*zip(*rows, strict=True)) for name, rows in pairs.items()}


def decide_drift(paired: Mapping[str, Paired], tolerance: float) -> Decision:
    """Decide whether a mask does worse than it did; ``paired`` are its verdicts then and now, by set.

    It fails if a rate fell by more than ``tolerance``, significantly after Holm's adjustment for all sets.
    """
    adjusted = holm({name: paired_p(pair.before, pair.after, pair.groups) for name, pair in paired.items()})
    return all_of(_drift(name, pair.change, adjusted[name], tolerance) for name, pair in paired.items())


def decide_not_worse(paired: Mapping[str, Paired], tolerance: float) -> Decision:
    """Decide whether a candidate is at most ``tolerance`` behind the live mask; ``paired`` are live and candidate.

    It passes if the lower bounds say so, fails if a rate is certainly further behind, and is undecided in between.
    """
    return all_of(_not_worse(name, pair.change, tolerance) for name, pair in paired.items())


def _drift(name: str, change: Rate, p: float, tolerance: float) -> Decision:
    fell = change.value < -tolerance and p < _ALPHA
    gate: Gate = "fail" if fell else "pass"
    return gate, (
        f"{name} since its card {WORDS[gate]}: the rate changed by {_numbers(change)}, p = {p:.2g} for all sets; a "
        f"fall of more than {100 * tolerance:.1f} points counts where p is below {_ALPHA:g}",
    )


def _not_worse(name: str, change: Rate, tolerance: float) -> Decision:
    gate: Gate = "pass" if change.low >= -tolerance else "fail" if change.high < -tolerance else "undecided"
    remedy = ": more test conversations, or another `tolerance`, would decide it" if gate == "undecided" else ""
    return gate, (
        f"{name} beside the live mask {WORDS[gate]}: the candidate's rate is {_numbers(change)} from the live mask's; "
        f"the lower bound must be at least {signed(-tolerance)} points{remedy}",
    )


def _numbers(change: Rate) -> str:
    unscored = f", {change.unscored} unscored" if change.unscored else ""
    return (
        f"{signed(change.value)} points (95% interval {signed(change.low)} to {signed(change.high)}, "
        f"{change.n} conversations{unscored})"
    )
