"""The gates that a mask must pass on the test split, its labels and changed conditions included, to be published."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from mascing.schemas.config import GatesConfig, RobustnessConfig
from mascing.schemas.result import Rate

Decision = tuple[Literal["pass", "fail"], tuple[str, ...]]


def decide(
    uplift: Rate, utility_changes: Mapping[str, Rate], protected_changes: Mapping[str, Rate], gates: GatesConfig
) -> Decision:
    """Whether the mask passes, with one sentence a gate that holds the numbers, also of the gates that hold.

    All rates are paired differences, method minus baseline. The lower bound of the uplift must reach the minimum, and
    the upper bound of each loss must stay within its limit, so doubt counts against the mask. A utility that was not
    measured may be lost entirely; where nothing is declared protected, nothing is.
    """
    checks = [
        _uplift_check(uplift, gates.min_uplift),
        *(_loss_check(f"utility/{name}", change, gates.max_utility_loss) for name, change in utility_changes.items()),
        *(
            _loss_check(f"protected/{name}", change, gates.protected_tolerance)
            for name, change in protected_changes.items()
        ),
    ]
    if not utility_changes:
        checks.append(_unmeasured_check(gates.max_utility_loss))
    return _decision(checks)


def decide_labels(agreement: Rate | None, gates: GatesConfig) -> Decision:
    """Whether the labels say what the unsteered model does: Cohen's kappa with its replies on the test split.

    A label claims that the model shows the wanted behaviour by itself, and all methods build on that claim. None where
    no target conversation of the split has a label; that passes only where any agreement would.
    """
    limit = f"the lower bound must be at least {gates.min_label_kappa:.2f}"
    if agreement is None:
        holds = gates.min_label_kappa <= -1
        return _decision([(holds, f"labels {_word(holds)}: no target conversation of the test split has one; {limit}")])
    holds = agreement.low >= gates.min_label_kappa
    remedy = "" if holds else ": correct the labels, or the target's judge"
    return _decision(
        [
            (
                holds,
                f"labels {_word(holds)}: their agreement with the unsteered model's own replies, beyond chance, is "
                f"{agreement.value:.2f} (95% interval {agreement.low:.2f} to {agreement.high:.2f}, "
                f"{_counts(agreement)}); {limit}{remedy}",
            )
        ]
    )


def decide_condition(
    name: str, changes: Mapping[str, Rate], gates: GatesConfig, robustness: RobustnessConfig
) -> Decision:
    """Whether the mask holds under a changed condition, in one sentence; ``changes`` are paired differences by set."""
    least = {
        "target": robustness.uplift_share * gates.min_uplift,
        "utility": -robustness.loss_factor * gates.max_utility_loss,
        "protected": -robustness.loss_factor * gates.protected_tolerance,
    }
    kinds = {each: kind for kind in least for each in changes if each.partition("/")[0] == kind}
    holds = all(changes[each].low >= least[kind] for each, kind in kinds.items())
    told = ", ".join(
        f"{each} changed by {_points(changes[each].value)} ({_interval(changes[each].low, changes[each].high)}, "
        f"{_counts(changes[each])}; at least {_signed(least[kind])})"
        for each, kind in kinds.items()
    )
    return _decision([(holds, f"{name} {_word(holds)}: {told}")])


def all_of(decisions: Iterable[Decision]) -> Decision:
    """The one decision that several make: passed only if each is, with the reasons of all."""
    decided = list(decisions)
    passed = all(decision == "pass" for decision, _ in decided)
    return "pass" if passed else "fail", tuple(reason for _, reasons in decided for reason in reasons)


def _decision(checks: Sequence[tuple[bool, str]]) -> Decision:
    return ("pass" if all(holds for holds, _ in checks) else "fail"), tuple(reason for _, reason in checks)


def _uplift_check(uplift: Rate, minimum: float) -> tuple[bool, str]:
    holds = uplift.low >= minimum
    return holds, (
        f"target {_word(holds)}: the rate changed by {_points(uplift.value)} ({_interval(uplift.low, uplift.high)}, "
        f"{_counts(uplift)}); the lower bound must be at least {_points(minimum)}"
    )


def _loss_check(name: str, change: Rate, limit: float) -> tuple[bool, str]:
    holds = -change.low <= limit
    return holds, (
        f"{name} {_word(holds)}: the rate changed by {_points(change.value)} ({_interval(change.low, change.high)}, "
        f"{_counts(change)}); the lower bound must be at least {_points(-limit)}"
    )


def _unmeasured_check(limit: float) -> tuple[bool, str]:
    holds = limit >= 1
    return holds, (
        f"utility {_word(holds)}: no utility set was judged, so the loss may be up to 100.0 points; "
        f"the limit is {100 * limit:.1f} points: add conversations of a set utility/<name>"
    )


def _word(holds: bool) -> str:
    return "passes" if holds else "fails"


def _points(difference: float) -> str:
    return f"{_signed(difference)} points"


def _interval(low: float, high: float) -> str:
    return f"95% interval {_signed(low)} to {_signed(high)}"


def _signed(difference: float) -> str:
    # Adding zero turns a negative zero into a plain one.
    return f"{round(100 * difference, 1) + 0.0:+.1f}"


def _counts(rate: Rate) -> str:
    unscored = f", {rate.unscored} unscored" if rate.unscored else ""
    return f"{rate.n} conversations{unscored}"
