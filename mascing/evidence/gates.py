"""The gates that a mask must pass to be published: on the test split, its labels and changed conditions."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from mascing.schemas.config import GatesConfig, RobustnessConfig
from mascing.schemas.result import Rate

Decision = tuple[Literal["pass", "fail"], tuple[str, ...]]


def decide(
    uplift: Rate, utility_changes: Mapping[str, Rate], protected_changes: Mapping[str, Rate], gates: GatesConfig
) -> Decision:
    """Decide whether the mask passes, with one sentence per gate, passed or not, that states the numbers.

    All rates are paired differences, method minus baseline. The lower bound of the uplift must reach the minimum, and
    the upper bound of each loss must stay within its limit, so doubt counts against the mask. An unmeasured utility
    counts as a possible total loss. Without protected sets, there is no protected gate.
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
    """Decide whether the labels agree with the unsteered model's replies on the test split, by Cohen's kappa.

    A positive label claims that the model shows the wanted behaviour by itself, and all methods build on that claim.
    ``agreement`` is None if no target conversation of the split has a label; that passes only if any agreement would.
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
    """Decide, in one sentence, whether the mask holds under a condition; ``changes`` are paired differences by set."""
    least = {
        "target": robustness.uplift_share * gates.min_uplift,
        "utility": -robustness.loss_factor * gates.max_utility_loss,
        "protected": -robustness.loss_factor * gates.protected_tolerance,
    }
    kinds = {set_name: kind for kind in least for set_name in changes if set_name.partition("/")[0] == kind}
    holds = all(changes[set_name].low >= least[kind] for set_name, kind in kinds.items())
    numbers = ", ".join(
        f"{set_name} changed by {_points(changes[set_name].value)} "
        f"({_interval(changes[set_name].low, changes[set_name].high)}, "
        f"{_counts(changes[set_name])}; at least {_signed(least[kind])})"
        for set_name, kind in kinds.items()
    )
    return _decision([(holds, f"{name} {_word(holds)}: {numbers}")])


def all_of(decisions: Iterable[Decision]) -> Decision:
    """Combine decisions: pass only if all pass, with the reasons of all."""
    decisions = list(decisions)
    passed = all(gate == "pass" for gate, _ in decisions)
    return "pass" if passed else "fail", tuple(reason for _, reasons in decisions for reason in reasons)


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
    # Adding zero turns a negative zero into a positive one.
    return f"{round(100 * difference, 1) + 0.0:+.1f}"


def _counts(rate: Rate) -> str:
    unscored = f", {rate.unscored} unscored" if rate.unscored else ""
    return f"{rate.n} conversations{unscored}"
