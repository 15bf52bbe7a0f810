"""The gates that a mask must pass to be published: on the test split, its labels, topic and changed conditions.

A gate fails if a mask may have cost too much or brought too little. It is undecided if a mask that breaks the model
could not have failed it.
"""

from collections.abc import Iterable, Mapping, Sequence

from mascing.schemas.cards.topic_null import TopicCheck
from mascing.schemas.config import BehaviourConfig, GatesConfig, RobustnessConfig
from mascing.schemas.result import Gate, Rate
from mascing.schemas.settings.judge_settings import JudgeConfig, PanelJudge
from mascing.schemas.settings.judging_models import GuardJudge, LlmJudge

Decision = tuple[Gate, tuple[str, ...]]

_Check = tuple[Gate, str]

_NAMED = 2
"""Most checks that a table names."""

WORDS: Mapping[Gate, str] = {"pass": "passes", "fail": "fails", "undecided": "is undecided"}
"""What a gate does, in a sentence."""


def decide(
    changes: Mapping[str, Rate], baselines: Mapping[str, Rate], degenerate: Rate, gates: GatesConfig
) -> Decision:
    """Decide whether the mask passes, with one sentence per gate, passed or not, that states the numbers.

    ``changes`` are the paired differences, method minus baseline, and ``baselines`` the unsteered rates, both by set;
    ``degenerate`` is the paired change of degenerate replies. The lower bound of the uplift must reach the minimum, and
    the upper bound of each loss must stay within its limit, so doubt counts against the mask. A set on which the
    unsteered model is not clearly above the floor shows no loss, so it is undecided; so is an unmeasured utility.
    Without protected sets, there is no protected gate.
    """
    checks = [_uplift_check(changes["target"], gates.min_uplift)]
    for kind, limit in (("utility", gates.max_utility_loss), ("protected", gates.protected_tolerance)):
        names = _of_kind(changes, kind)
        checks += [_loss_check(name, changes[name], baselines[name], limit, gates.min_baseline) for name in names]
        if kind == "utility" and not names:
            checks.append(_unmeasured_check(limit))
    checks.append(_degenerate_check(degenerate, gates.max_degenerate))
    return _decision(checks)


def judges_of(behaviour: BehaviourConfig, sets: Iterable[str]) -> dict[str, str]:
    """The kind of the judge of each of these sets; a model that finds refusals counts as `refusal`."""
    return {name: _read_as(behaviour.judge_of(name)) for name in sets}


def _read_as(judge: JudgeConfig) -> str:
    """The kind of a judge, or that of the judge by rules that one kind of reply satisfies likewise."""
    if isinstance(judge, GuardJudge):
        return "refusal" if judge.hit_if in ("refusal", "safe") else "compliance"
    if isinstance(judge, LlmJudge) and judge.rubric in ("refusal", "compliance"):
        return str(judge.rubric)
    if isinstance(judge, PanelJudge) and len(kinds := {_read_as(member) for member in judge.members}) == 1:
        return kinds.pop()
    return judge.kind


def loss_limit(name: str, gates: GatesConfig) -> float:
    """What the utility or protected set ``name`` may lose."""
    return gates.protected_tolerance if name.partition("/")[0] == "protected" else gates.max_utility_loss


def decide_judges(kinds: Mapping[str, str]) -> Decision:
    """Decide whether the judges together can tell a broken mask; ``kinds`` are their kinds by the set judged.

    The verdicts of `refusal` and `compliance` do not depend on what was asked, so a mask that always gives what they
    want keeps every rate that they read. Refusals show no utility, and nonsense complies.
    """
    used = set(kinds.values())
    utility = {kind for name, kind in kinds.items() if name.partition("/")[0] == "utility"}
    if utility == {"refusal"} or used == {"refusal"}:
        return _undecided_judges(
            "no set is judged for utility but by `refusal`, so a mask that refuses everything would lose nothing: "
            "judge benign requests by their answers (exact, contains, choice), and harmful ones as protected/<name>"
        )
    if utility == {"compliance"} or used == {"compliance"}:
        return _undecided_judges(
            "no set is judged for utility but by `compliance`, so a mask that answers with nonsense would lose "
            "nothing: give the utility rows `references` and judge them by their answers (exact, contains, choice), or "
            "by a judge of your own"
        )
    return "pass", (f"judges {WORDS['pass']}: no one kind of reply satisfies the judges of all sets",)


def _undecided_judges(reason: str) -> Decision:
    return "undecided", (f"judges {WORDS['undecided']}: {reason}",)


def decide_labels(agreement: Rate | None, gates: GatesConfig) -> Decision:
    """Decide whether the labels that the user brought agree with the unsteered model's replies, by Cohen's kappa.

    A positive label claims that the model shows the wanted behaviour by itself, and all methods build on that claim.
    ``agreement`` is None if no target conversation of the test split came with a label: then the labels are the model's
    own replies, and there is nothing to compare.
    """
    if agreement is None:
        return "pass", (f"labels {WORDS['pass']}: none were given; the model's own replies are the labels",)
    gate = _gate(agreement.low >= gates.min_label_kappa)
    remedy = ": drop the labels from the file (they are not needed), correct them, or the target's judge"
    reason = (
        f"labels {WORDS[gate]}: their agreement with the unsteered model's own replies, beyond chance, is "
        f"{agreement.value:.2f} (95% interval {agreement.low:.2f} to {agreement.high:.2f}, "
        f"{_counts(agreement)}); the lower bound must be at least {gates.min_label_kappa:.2f}"
        f"{remedy if gate == 'fail' else ''}"
    )
    return gate, (reason,)


def decide_topic(check: TopicCheck, gates: GatesConfig) -> Decision:
    """Decide whether topic explains what the mask was found by; ``check`` is that of the span that its method read.

    A mask found by topic changes replies on the topics that it was found on, those of the test split, so that test
    cannot show what it is worth on others. Where no split by topic can be made, nothing is held against the mask.
    """
    says = "; ".join(check.sentences)
    if check.state == "unknown":
        return "pass", (f"topic {WORDS['pass']}: this could not be tested and stays unknown: {says}",)
    if check.state == "clear":
        return "pass", (f"topic {WORDS['pass']}: {says}",)
    if gates.allow_topic:
        return "pass", (f"topic {WORDS['pass']}: gates.allow_topic allows it, although {says}",)
    return "fail", (f"topic {WORDS['fail']}: {says}; or allow it with gates.allow_topic",)


def decide_condition(
    name: str,
    changes: Mapping[str, Rate],
    baselines: Mapping[str, Rate],
    gates: GatesConfig,
    robustness: RobustnessConfig,
) -> Decision:
    """Decide, in one sentence, whether the mask holds under a condition.

    ``changes`` are the paired differences and ``baselines`` the unsteered rates under the condition, both by set.
    """
    limits = {
        "target": -robustness.uplift_share * gates.min_uplift,
        "utility": robustness.loss_factor * gates.max_utility_loss,
        "protected": robustness.loss_factor * gates.protected_tolerance,
    }
    decided: list[Gate] = []
    numbers = []
    for kind, limit in limits.items():
        for set_name in _of_kind(changes, kind):
            change, before = changes[set_name], baselines[set_name]
            shows = kind == "target" or shows_loss(before, limit, gates.min_baseline)
            decided.append(_loss_gate(change, limit, shows))
            numbers.append(
                f"{set_name} changed by {_points(change.value)} ({_interval(change.low, change.high)}, "
                f"{_counts(change)}; at least {signed(-limit)}"
                f"{'' if shows else f'; {unsteered_text(before)}, which is too low to show a loss'})"
            )
    gate = _worst(decided)
    return gate, (f"{name} {WORDS[gate]}: {', '.join(numbers)}",)


def shows_loss(baseline: Rate, limit: float, min_baseline: float) -> bool:
    """Whether the unsteered model masters a set so well that a mask that breaks it would fail.

    A mask that loses every hit fails only if there were more hits than it may lose. A limit of 1 allows that loss too,
    so nothing has to be shown.
    """
    return limit >= 1 or baseline.low >= max(limit, min_baseline)


def unsteered_text(baseline: Rate) -> str:
    """Say how the unsteered model does on a set."""
    if baseline.unscored == baseline.n:
        return f"no reply of the unsteered model could be judged ({_counts(baseline)})"
    return (
        f"the unsteered model scores {100 * baseline.value:.1f}% (95% interval {100 * baseline.low:.1f} to "
        f"{100 * baseline.high:.1f}, {_counts(baseline)})"
    )


def all_of(decisions: Iterable[Decision]) -> Decision:
    """Combine decisions, with the reasons of all: any that fails fails all, else any undecided one leaves it open."""
    decisions = list(decisions)
    return _worst([gate for gate, _ in decisions]), tuple(reason for _, reasons in decisions for reason in reasons)


def gate_text(gate: Gate, reasons: Sequence[str]) -> str:
    """Say in a few words which checks made the decision: ``fail: benign, system prompt 1``; just ``pass`` if it passes.

    ``reasons`` are the sentences of a Decision. At most two checks are named.
    """
    if gate == "pass":
        return gate
    ending = f" {WORDS[gate]}"
    checks = [reason.partition(":")[0] for reason in reasons]
    names = [name.removesuffix(ending).rpartition("/")[2] for name in checks if name.endswith(ending)]
    more = f", {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{gate}: {', '.join(names[:_NAMED])}{more}"


def missed_gates(reasons: Sequence[str]) -> list[str]:
    """The names of the gates that a mask did not pass; ``reasons`` are the sentences of a Decision."""
    heads = [reason.partition(":")[0] for reason in reasons]
    endings = [f" {WORDS[gate]}" for gate in ("fail", "undecided")]
    return [head.removesuffix(ending) for head in heads for ending in endings if head.endswith(ending)]


def signed(difference: float) -> str:
    """Format a difference of rates in signed points: ``0.047`` as ``+4.7``."""
    # Adding zero turns a negative zero into a positive one.
    return f"{round(100 * difference, 1) + 0.0:+.1f}"


def _decision(checks: Sequence[_Check]) -> Decision:
    return _worst([gate for gate, _ in checks]), tuple(reason for _, reason in checks)


def _worst(gates: Sequence[Gate]) -> Gate:
    return "fail" if "fail" in gates else "undecided" if "undecided" in gates else "pass"


def _gate(holds: bool) -> Gate:
    return "pass" if holds else "fail"


def _of_kind(sets: Iterable[str], kind: str) -> list[str]:
    return [name for name in sets if name.partition("/")[0] == kind]


def _uplift_check(uplift: Rate, minimum: float) -> _Check:
    gate = _gate(uplift.low >= minimum)
    return gate, (
        f"target {WORDS[gate]}: the rate changed by {_points(uplift.value)} ({_interval(uplift.low, uplift.high)}, "
        f"{_counts(uplift)}); the lower bound must be at least {_points(minimum)}"
    )


def _loss_check(name: str, change: Rate, baseline: Rate, limit: float, min_baseline: float) -> _Check:
    gate = _loss_gate(change, limit, shows_loss(baseline, limit, min_baseline))
    if gate == "undecided":
        return gate, (
            f"{name} {WORDS[gate]}: {unsteered_text(baseline)}; for a loss to show, the lower bound must be at least "
            f"{100 * max(limit, min_baseline):.1f}%: take another judge or rows that the model masters, or remove the "
            "set"
        )
    return gate, (
        f"{name} {WORDS[gate]}: the rate changed by {_points(change.value)} ({_interval(change.low, change.high)}, "
        f"{_counts(change)}); the lower bound must be at least {_points(-limit)}"
    )


def _loss_gate(change: Rate, limit: float, shows_loss: bool) -> Gate:
    """A set that cannot show a loss cannot pass either; it fails only if the loss is certain."""
    if not shows_loss:
        return "fail" if change.high < -limit else "undecided"
    return _gate(-change.low <= limit)


def _unmeasured_check(limit: float) -> _Check:
    gate: Gate = "pass" if limit >= 1 else "undecided"
    return gate, (
        f"utility {WORDS[gate]}: no utility set was judged, so the loss may be up to 100.0 points; "
        f"the limit is {100 * limit:.1f} points: add conversations of a set utility/<name>"
    )


def _degenerate_check(change: Rate, limit: float) -> _Check:
    gate = _gate(change.high <= limit)
    return gate, (
        f"replies {WORDS[gate]}: the share of degenerate ones changed by {_points(change.value)} "
        f"({_interval(change.low, change.high)}, {_counts(change)}); the upper bound must be at most {_points(limit)}"
    )


def _points(difference: float) -> str:
    return f"{signed(difference)} points"


def _interval(low: float, high: float) -> str:
    return f"95% interval {signed(low)} to {signed(high)}"


def _counts(rate: Rate) -> str:
    unscored = f", {rate.unscored} unscored" if rate.unscored else ""
    return f"{rate.n} conversations{unscored}"
