"""The summary for the person who decides: what was asked, what changed, what it cost, what is not known, what next."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mascing.evidence.results import CONTROL
from mascing.prose import counted
from mascing.report.figures.rates import measures
from mascing.report.run_evidence import Evidence
from mascing.report.sections.headline import shown_method
from mascing.report.sections.open_questions import open_questions
from mascing.report.wording import as_sentence, duration, percent, points_text, set_title
from mascing.runs.files import verdicts_file
from mascing.schemas.config import RunConfig
from mascing.schemas.finished import RunStages
from mascing.schemas.manifest import Manifest
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
    """The answers; of a run that made no mask, ``changed`` is None and ``costs`` of sets are empty."""

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
        other_costs=(*(_other_costs(steered, len(costs) - _MOST_COSTS) if steered else ()), *_work(evidence)),
        not_known=tuple(open_questions(evidence, changes.get(shown, {}) if shown else {})),
        next=tuple(_next(evidence)),
    )


def _asked(evidence: Evidence) -> str:
    config, splits = evidence.config, evidence.result.splits
    methods = len(evidence.result.methods.keys() - {CONTROL})
    searched = (
        f"{counted(methods, 'method')} searched {splits.train} conversations" if methods else "No method searched"
    )
    return (
        f"{_wanted(config)} {searched}; {splits.dev} others chose the mask, and {splits.test} more, which no method "
        "saw, decide."
    )


def _wanted(config: RunConfig) -> str:
    gates, behaviour = config.gates, config.behaviour
    return (
        f"Target: at least {_size(gates.min_uplift)} percentage points more replies that the judge "
        f"`{behaviour.target.kind}` counts as hits. Cost: at most {_size(gates.max_utility_loss)} points on a utility "
        f"set and {_size(gates.protected_tolerance)} on a protected set. Each must hold at the unfavourable end of its "
        "95% interval."
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


def _other_costs(steered: MethodResult, more_sets: int) -> Iterator[str]:
    if more_sets > 0:
        yield f"{counted(more_sets, 'other set')} lost no more than these."
    change = steered.degenerate_change
    if change.value:
        yield f"Degenerate replies: {points_text(change)} points."


def _work(evidence: Evidence) -> Iterator[str]:
    """Say what the run itself took: replies, tokens that were read, and time."""
    judged = {purpose: number for purpose, number in _judged(evidence.stages).items() if number}
    if judged:
        parts = ", ".join(f"{number:,} {purpose}" for purpose, number in judged.items())
        yield f"Replies judged: {sum(judged.values()):,} ({parts})."
    if evidence.stages.select and (tokens := evidence.stages.select.facts.cost.prefill_tokens):
        yield f"To foretell what candidates do, {tokens:,} tokens were read without generating."
    if timings := evidence.result.timings:
        longest = max(timings, key=lambda stage: timings[stage])
        yield (
            f"The last run took {duration(sum(timings.values()))}, of which {duration(timings[longest])} for its "
            f"longest stage, {longest}; stages that were done before took no time in it."
        )


def _judged(stages: RunStages) -> dict[str, int]:
    """Count the judged replies by what they were for; test has those of the unsteered model from the labels."""
    searches = stages.optimise.facts.costs.values() if stages.optimise else ()
    return {
        "to label": _rows(stages.label, "verdicts-"),
        "in searches": sum(cost.trials.generations for cost in searches if cost.trials),
        "to choose": stages.select.facts.cost.total if stages.select else 0,
        "on test": _rows(stages.evaluate, "verdicts-") - _rows(stages.evaluate, verdicts_file("baseline")),
        "under changed conditions": _rows(stages.robustness, "condition-"),
    }


def _rows(manifest: Manifest | None, prefix: str) -> int:
    return sum(shard.rows for shard in manifest.shards if shard.name.startswith(prefix)) if manifest else 0


def _next(evidence: Evidence) -> list[Step]:
    result = evidence.result
    if result.lacking:
        return [Step(as_sentence(result.lacking[-1]))]
    if result.published is None:
        unproven = result.unproven
        return [
            *(Step(as_sentence(sentence)) for sentence in _remedies(evidence)[:_MOST_STEPS]),
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


def _size(share: float) -> str:
    return f"{100 * share:g}"
