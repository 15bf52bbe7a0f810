"""Turn judged replies into numbers: the baseline, each method against it, and the method to publish."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from sys import intern
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from mascing.errors import DataError
from mascing.evidence.degenerate import counts_of, degenerate_alone, degenerate_change
from mascing.evidence.gates import Decision, all_of, decide
from mascing.schemas.config import GatesConfig
from mascing.schemas.conversation import Conversation
from mascing.schemas.result import Baseline, MethodResult, Rate, Result
from mascing.schemas.verdict import Outcome
from mascing.statistics import kappa, paired_difference, rate

if TYPE_CHECKING:
    import pyarrow as pa

    Verdicts: TypeAlias = Sequence[Mapping[str, Any]] | pa.Table
    """Rows of the VERDICTS table (schemas/tables.py) of one method or the baseline, in any order."""

T = TypeVar("T")

# Rows of a table that are Python objects at the same time.
_AT_ONCE = 1024

CONTROL = "random"
"""The control, to which the other methods are compared: reported and gated like them, but never published."""


@dataclass(frozen=True)
class CellScore:
    """Dev rates of one candidate mask, or of the baseline (with an empty cell). An unscored reply is not a hit."""

    cell: Mapping[str, Any]
    target_rate: float
    utility: Mapping[str, float]
    protected: Mapping[str, float]


def baseline_of(verdicts: "Verdicts") -> Baseline:
    """Return the rates of the unsteered model.

    Raises DataError if there are no target conversations or if a conversation occurs twice.
    """
    rows = _rows(verdicts)
    rates = rates_by_set(rows)
    return Baseline(
        target_rate=rates["target"],
        utility=_of(rates, "utility"),
        protected=_of(rates, "protected"),
        degenerate=counts_of(degenerate_alone(rows)),
    )


def method_result(
    baseline: "Verdicts",
    verdicts: "Verdicts",
    *,
    selected: Mapping[str, Any],
    circuit_precision: float | None,
    gates: GatesConfig,
) -> MethodResult:
    """Return one method's rates, its uplift over the baseline on the same conversations, and its gates.

    ``selected`` is the cell of the method's grid. Raises DataError if the two tables do not hold the same
    conversations.
    """
    before, after = _rows(baseline), _rows(verdicts)
    changes, rates = changes_by_set(before, after), rates_by_set(after)
    degenerate, degenerate_more = degenerate_change(before, after)
    gate, reasons = decide(changes, rates_by_set(before), degenerate_more, gates)
    return MethodResult(
        selected=dict(selected),
        target_rate=rates["target"],
        uplift=changes["target"],
        utility=_of(rates, "utility"),
        protected=_of(rates, "protected"),
        degenerate=degenerate,
        degenerate_change=degenerate_more,
        circuit_precision=circuit_precision,
        gate=gate,
        reasons=reasons,
    )


def further_gated(result: MethodResult, decisions: Iterable[Decision]) -> MethodResult:
    """Return the result after more gates: it passes only if these pass too, and includes their reasons."""
    gate, reasons = all_of([(result.gate, result.reasons), *decisions])
    return result.model_copy(update={"gate": gate, "reasons": reasons})


def label_agreement(conversations: Iterable[Conversation], baseline: "Verdicts") -> Rate | None:
    """Return Cohen's kappa between the target conversations' labels and the unsteered model's replies.

    ``conversations`` carry the labels that the user brought. Those without a label or without a verdict do not count.
    Returns None if none is left.
    """
    judged = _by_set(baseline)["target"].outcomes
    claims: list[Outcome] = []
    replies: list[Outcome] = []
    groups: list[str] = []
    for conversation in conversations:
        if conversation.label is not None and conversation.id in judged:
            claims.append("hit" if conversation.label == "positive" else "miss")
            replies.append(judged[conversation.id])
            groups.append(conversation.group_id)
    return kappa(claims, replies, groups) if claims else None


def paired_target(before: "Verdicts", after: "Verdicts") -> tuple[list[Outcome], list[Outcome], list[str]]:
    """Return the target outcomes of two tables on the same conversations, and their groups.

    Raises DataError if the two tables do not hold the same target conversations.
    """
    judged_before, judged_after = _by_set(before)["target"], _by_set(after)["target"]
    if judged_before.groups != judged_after.groups:
        raise DataError("two methods were not judged on the same target conversations: evaluate both again")
    groups = list(judged_before.groups.values())
    return list(judged_before.outcomes.values()), list(judged_after.outcomes.values()), groups


def changes_by_set(before: "Verdicts", after: "Verdicts") -> dict[str, Rate]:
    """Return how much higher each set's rate is in ``after``, paired by conversation, by set (``utility/benign``).

    Raises DataError if the two tables do not hold the same conversations.
    """
    sets, steered = _by_set(before), _by_set(after)
    if {name: judged.groups for name, judged in sets.items()} != {name: of.groups for name, of in steered.items()}:
        raise DataError("baseline and method were not judged on the same conversations: evaluate both again")
    return {
        name: paired_difference(
            list(judged.outcomes.values()), list(steered[name].outcomes.values()), list(judged.groups.values())
        )
        for name, judged in sets.items()
    }


def rates_by_set(verdicts: "Verdicts") -> dict[str, Rate]:
    """Return the rate of each set, by set (``utility/benign``). Raises the errors of `baseline_of`."""
    return {
        name: rate(list(judged.outcomes.values()), list(judged.groups.values()))
        for name, judged in _by_set(verdicts).items()
    }


def outcomes_of(verdicts: "Verdicts") -> dict[str, Outcome]:
    """Return the outcome of each conversation by its id."""
    return {row["conversation_id"]: row["outcome"] for row in _ordered(verdicts)}


def cell_score(cell: Mapping[str, Any], verdicts: "Verdicts") -> CellScore:
    """Return the point rates of one candidate mask (or, with an empty cell, of the baseline) on the dev split.

    An unscored reply counts as a miss: a mask must not look good because few of its replies can be read.
    """
    sets = _by_set(verdicts)
    shares = {name: judged.hit_share() for name, judged in sets.items()}
    return CellScore(
        cell=dict(cell),
        target_rate=shares["target"],
        utility=_of(shares, "utility"),
        protected=_of(shares, "protected"),
    )


def winner(methods: Mapping[str, MethodResult], first_on_dev: str | None) -> str | None:
    """Return the method to publish: the first on dev if it passes on test, else None.

    The others are not tried, however well they do: the best of several on test would be chosen by test. Of the gates
    here, each holds its error rate only for a mask that was named beforehand.
    """
    return first_on_dev if first_on_dev is not None and methods[first_on_dev].gate == "pass" else None


def passed_unpublished(result: Result) -> list[str]:
    """Return the methods that pass on test and are not published, because the dev split ranks another first."""
    return [
        name
        for name, method in result.methods.items()
        if method.gate == "pass" and name not in (CONTROL, result.published)
    ]


@dataclass(frozen=True)
class _Judged:
    """The outcomes of one set, by conversation id."""

    outcomes: dict[str, Outcome]
    groups: dict[str, str]

    def hit_share(self) -> float:
        return sum(outcome == "hit" for outcome in self.outcomes.values()) / len(self.outcomes)


def _rows(verdicts: "Verdicts") -> Sequence[Mapping[str, Any]]:
    return verdicts if isinstance(verdicts, Sequence) else verdicts.to_pylist()


def _ordered(verdicts: "Verdicts") -> Iterator[Mapping[str, Any]]:
    """The rows by set and id; those of a table without their replies, and few of them at once as Python objects."""
    order = ("set", "conversation_id")
    if isinstance(verdicts, Sequence):
        yield from sorted(verdicts, key=lambda row: tuple(str(row[name]) for name in order))
        return
    table = verdicts.select([*order, "group_id", "outcome"]).sort_by([(name, "ascending") for name in order])
    for batch in table.to_batches(max_chunksize=_AT_ONCE):
        for row in batch.to_pylist():
            # There are three outcomes and few sets: one string of each is enough.
            yield {**row, "set": intern(row["set"]), "outcome": intern(row["outcome"])}


def _by_set(verdicts: "Verdicts") -> dict[str, _Judged]:
    sets: dict[str, _Judged] = {}
    for row in _ordered(verdicts):
        judged = sets.setdefault(row["set"], _Judged({}, {}))
        if row["conversation_id"] in judged.outcomes:
            raise DataError(f"conversation {row['conversation_id']!r} of {row['set']} has more than one verdict")
        judged.outcomes[row["conversation_id"]] = row["outcome"]
        judged.groups[row["conversation_id"]] = row["group_id"]
    if "target" not in sets:
        raise DataError("there are no verdicts on target conversations: give the split more groups of the target set")
    return sets


def _of(sets: Mapping[str, T], kind: str) -> dict[str, T]:
    """Return the sets of one kind by their name without the kind: ``utility/benign`` as ``benign``."""
    return {name.partition("/")[2]: value for name, value in sets.items() if name.partition("/")[0] == kind}
