"""Turn judged replies into numbers: the baseline, each method against it, and the winner."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from mascing.errors import DataError
from mascing.evidence.gates import Decision, all_of, decide
from mascing.schemas.config import GatesConfig
from mascing.schemas.conversation import Conversation
from mascing.schemas.result import Baseline, MethodResult, Rate
from mascing.schemas.verdict import Outcome
from mascing.statistics import kappa, paired_difference, rate

if TYPE_CHECKING:
    import pyarrow as pa

    Verdicts: TypeAlias = Sequence[Mapping[str, Any]] | pa.Table
    """Rows of the VERDICTS table (schemas/tables.py) of one method or the baseline, in any order."""

T = TypeVar("T")

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
    sets = _by_set(verdicts)
    return Baseline(
        target_rate=sets["target"].rate(), utility=_rates(sets, "utility"), protected=_rates(sets, "protected")
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
    before, after = _by_set(baseline), _by_set(verdicts)
    changes = _changes(before, after)
    gate, reasons = decide(changes["target"], _of(changes, "utility"), _of(changes, "protected"), gates)
    return MethodResult(
        selected=dict(selected),
        target_rate=after["target"].rate(),
        uplift=changes["target"],
        utility=_rates(after, "utility"),
        protected=_rates(after, "protected"),
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

    ``conversations`` without a label or without a verdict do not count. Returns None if none is left.
    """
    judged = _by_set(baseline)["target"]
    labelled = [
        conversation
        for conversation in conversations
        if conversation.label is not None and conversation.id in judged.outcomes
    ]
    if not labelled:
        return None
    claims: list[Outcome] = ["hit" if conversation.label == "positive" else "miss" for conversation in labelled]
    replies = [judged.outcomes[conversation.id] for conversation in labelled]
    return kappa(claims, replies, [conversation.group_id for conversation in labelled])


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
    return _changes(_by_set(before), _by_set(after))


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


def winner(methods: Mapping[str, MethodResult], entries: Mapping[str, int]) -> str | None:
    """Return the method to publish: the one with the highest lower bound of uplift among those that pass.

    Ties go to the higher uplift, then to the mask with fewer ``entries``, then to the first name. The control never
    wins. Returns None if no method passes.
    """

    def merit(name: str) -> tuple[float, float, int]:
        uplift = methods[name].uplift
        return uplift.low, uplift.value, -entries[name]

    passing = [name for name, result in sorted(methods.items()) if result.gate == "pass" and name != CONTROL]
    return max(passing, key=merit, default=None)


@dataclass(frozen=True)
class _Judged:
    """The outcomes of one set, by conversation id."""

    outcomes: dict[str, Outcome]
    groups: dict[str, str]

    def rate(self) -> Rate:
        return rate(list(self.outcomes.values()), list(self.groups.values()))

    def hit_share(self) -> float:
        return sum(outcome == "hit" for outcome in self.outcomes.values()) / len(self.outcomes)


def _by_set(verdicts: "Verdicts") -> dict[str, _Judged]:
    rows: Sequence[Mapping[str, Any]] = verdicts if isinstance(verdicts, Sequence) else verdicts.to_pylist()
    sets: dict[str, _Judged] = {}
    for row in sorted(rows, key=lambda row: (str(row["set"]), str(row["conversation_id"]))):
        judged = sets.setdefault(row["set"], _Judged({}, {}))
        if row["conversation_id"] in judged.outcomes:
            raise DataError(f"conversation {row['conversation_id']!r} of {row['set']} has more than one verdict")
        judged.outcomes[row["conversation_id"]] = row["outcome"]
        judged.groups[row["conversation_id"]] = row["group_id"]
    if "target" not in sets:
        raise DataError("there are no verdicts on target conversations: give the split more groups of the target set")
    return sets


def _changes(before: Mapping[str, _Judged], after: Mapping[str, _Judged]) -> dict[str, Rate]:
    """Return the paired difference of each set, method minus baseline."""
    if {name: judged.groups for name, judged in before.items()} != {n: judged.groups for n, judged in after.items()}:
        raise DataError("baseline and method were not judged on the same conversations: evaluate both again")
    return {
        name: paired_difference(
            list(judged.outcomes.values()), list(after[name].outcomes.values()), list(judged.groups.values())
        )
        for name, judged in before.items()
    }


def _rates(sets: Mapping[str, _Judged], kind: str) -> dict[str, Rate]:
    return {name: judged.rate() for name, judged in _of(sets, kind).items()}


def _of(sets: Mapping[str, T], kind: str) -> dict[str, T]:
    """Return the sets of one kind by their name without the kind: ``utility/benign`` as ``benign``."""
    return {name.partition("/")[2]: value for name, value in sets.items() if name.partition("/")[0] == kind}
