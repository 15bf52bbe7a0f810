"""The summary for the person who decides: what was asked, what changed, what it cost, what is not known, what next."""

from collections.abc import Mapping
from dataclasses import dataclass

from mascing.evidence.results import CONTROL
from mascing.report.figures.rates import measures
from mascing.report.run_evidence import Evidence
from mascing.report.sections.headline import shown_method
from mascing.report.sections.open_questions import open_questions
from mascing.report.wording import percent, points_text, set_title
from mascing.schemas.config import RunConfig
from mascing.schemas.result import MethodResult, Rate

_MOST_COSTS = 4
_MOST_STEPS = 3


@dataclass(frozen=True)
class Step:
    """Something to do next, with the command that does it if there is one."""

    text: str
    command: str = ""


@dataclass(frozen=True)
class Movement:
    """How a mask moved the rate of one set."""

    set: str
    rates: str
    change: str


@dataclass(frozen=True)
class Summary:
    """The answers; of a run that made no mask, ``changed`` is None and there are no costs."""

    asked: str
    changed: Movement | None
    mask: str
    costs: tuple[Movement, ...]
    other_costs: tuple[str, ...]
    not_known: tuple[str, ...]
    next: tuple[Step, ...]


def summary(evidence: Evidence, changes: Mapping[str, Mapping[str, Rate]]) -> Summary:
    """Write the summary; ``changes`` holds each method's paired change per set, if replies were judged."""
    result = evidence.result
    shown = shown_method(result)
    steered = result.methods[shown] if shown else None
    costs = _costs(evidence, shown, changes.get(shown, {})) if shown else []
    return Summary(
        asked=_asked(evidence),
        changed=_movement("target", result.baseline.target_rate, steered.target_rate, steered.uplift)
        if steered
        else None,
        mask=_mask(evidence, shown) if shown else "",
        costs=tuple(costs[:_MOST_COSTS]),
        other_costs=tuple(_other_costs(evidence, steered, len(costs) - _MOST_COSTS)) if steered else (),
        not_known=tuple(open_questions(evidence)),
        next=tuple(_next(evidence)),
    )


def _asked(evidence: Evidence) -> str:
    config, splits = evidence.config, evidence.result.splits
    methods = len(evidence.result.methods.keys() - {CONTROL})
    searched = f"{_count(methods, 'method')} searched {splits.train} conversations" if methods else "No method searched"
    return (
        f"{_wanted(config)} {searched}; {splits.dev} others chose the mask, and {splits.test} more, which no method "
        "saw, decide."
    )


def _wanted(config: RunConfig) -> str:
    gates, behaviour = config.gates, config.behaviour
    return (
        f"Raise the target, which the judge {behaviour.target.kind} reads, surely by {_size(gates.min_uplift)} points "
        f"or more. Lose at most {_size(gates.max_utility_loss)} points of any utility set and "
        f"{_size(gates.protected_tolerance)} of any protected set."
    )


def _movement(name: str, before: Rate, after: Rate, change: Rate | None) -> Movement:
    return Movement(
        set_title(name),
        f"{percent(before.value)} → {percent(after.value)}",
        f"{points_text(change)} points" if change else "",
    )


def _mask(evidence: Evidence, method: str) -> str:
    shown = evidence.maps.get(method)
    if shown is None:
        return f"By the mask of {method}."
    experts = sum(len(row) for row in shown.values)
    return f"By the mask of {method}, which moves {shown.entries} of {experts} experts."


def _costs(evidence: Evidence, method: str, changes: Mapping[str, Rate]) -> list[Movement]:
    """How each utility and protected set moved, the greatest loss first."""
    rates = [
        (name, by_method["baseline"], by_method[method])
        for name, by_method in measures(evidence.result).items()
        if name != "target" and method in by_method
    ]
    rates.sort(key=lambda row: row[2].value - row[1].value)
    return [_movement(name, before, after, changes.get(name)) for name, before, after in rates]


def _other_costs(evidence: Evidence, steered: MethodResult, more_sets: int) -> list[str]:
    sentences = [f"{_count(more_sets, 'other set')} lost no more than these."] if more_sets > 0 else []
    change = steered.degenerate_change
    if change.value:
        sentences.append(f"Degenerate replies: {points_text(change)} points.")
    selected = evidence.stages.select
    if selected:
        sentences.append(f"The choice among candidates took {selected.facts.cost.total:,} judged replies.")
    return sentences


def _next(evidence: Evidence) -> list[Step]:
    result = evidence.result
    if result.lacking:
        return [Step(f"{_capital(result.lacking[-1])}.")]
    if result.published is None:
        unproven = result.unproven
        return [
            *(Step(f"{_capital(sentence)}.") for sentence in _remedies(evidence)[:_MOST_STEPS]),
            Step("Then run again: what stays the same is not done again."),
            *([Step("Look at its mask, which is unproven:", f"mascing mask show {unproven.mask}")] if unproven else []),
        ]
    if result.channel is None or result.channel.mask != result.mask:
        return [Step("Another writer moved the channel meanwhile; look at its history:", "mascing registry list")]
    address = result.channel.address
    return [
        Step("Look at the mask:", f"mascing mask show {address}"),
        Step("Try it on conversations of your own that this run has not seen, and read the replies below."),
        Step("If it holds, point the channel at it that you serve:", f"mascing registry promote {address} production"),
    ]


def _remedies(evidence: Evidence) -> list[str]:
    """What would change the gates that the method missed which the page shows."""
    remedies = evidence.result.remedies.get(shown_method(evidence.result) or "", ())
    return [remedy.sentence for remedy in remedies] or ["look at the gates below, which each method missed"]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _capital(sentence: str) -> str:
    return f"{sentence[0].upper()}{sentence[1:]}"


def _size(share: float) -> str:
    return f"{100 * share:g}"
