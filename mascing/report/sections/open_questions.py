"""What a run does not show, so that nobody reads more into its numbers than they say."""

from collections.abc import Iterator, Mapping

from mascing.evidence.gates import missed_gates
from mascing.evidence.results import CONTROL
from mascing.report.run_evidence import Evidence
from mascing.report.sections.headline import shown_method
from mascing.report.wording import points_text
from mascing.schemas.result import Rate, Result

_WIDE = 0.05
"""A loss that the interval of a set leaves open and that is worth telling."""


def open_questions(evidence: Evidence, changes: Mapping[str, Rate]) -> Iterator[str]:
    """Yield a sentence for each thing that the run leaves open about the method that the page shows.

    ``changes`` holds its paired change per set.
    """
    result, method = evidence.result, shown_method(evidence.result)
    yield from _disturbance(result)
    yield from _unread(result)
    if method is not None:
        yield from _undecided(result, method)
        yield from _small_sets(changes)
        yield from _conditions(evidence, method)
        yield from _seeds(result, method)
    yield from _topic(result)
    yield from _judge(evidence)
    yield from _reach(evidence)


def _disturbance(result: Result) -> Iterator[str]:
    control = result.methods.get(CONTROL)
    if control is not None and control.uplift.low > 0:
        yield (
            f"The shuffled control also moved the target ({points_text(control.uplift)} points): part of any uplift "
            "here may be disturbance and not steering."
        )


def _unread(result: Result) -> Iterator[str]:
    rates = {"the baseline": result.baseline.target_rate} | {
        name: method.target_rate for name, method in result.methods.items()
    }
    unread = [f"{name} {rate.unscored} of {rate.n}" for name, rate in rates.items() if rate.unscored]
    if unread:
        yield f"Some target replies could not be judged ({'; '.join(unread)}). Intervals count them as the worst case."


def _undecided(result: Result, method: str) -> Iterator[str]:
    undecided = [reason for reason in result.methods[method].reasons if "is undecided" in reason.partition(":")[0]]
    for name in missed_gates(undecided):
        yield f"Whether {name} is kept: what was measured there could not have shown a loss."


def _small_sets(changes: Mapping[str, Rate]) -> Iterator[str]:
    """What a set may have lost beyond what was measured, the most first."""
    open_losses = sorted(
        (change.low, name, change.n)
        for name, change in changes.items()
        if name != "target" and min(0.0, change.value) - change.low > _WIDE
    )
    told = [f"{name} up to {-100 * low:.1f} points ({n} conversations)" for low, name, n in open_losses]
    if told:
        yield f"How much was lost at the worst: {', '.join(told)}. More conversations would say it more closely."


def _conditions(evidence: Evidence, method: str) -> Iterator[str]:
    judged = evidence.stages.gate.facts.robustness if evidence.stages.gate else {}
    if method not in judged:
        yield "Whether it holds under other conditions: only a mask that passes its gates is judged under them."
    elif evidence.stages.robustness:
        for name, reason in evidence.stages.robustness.facts.left_out.items():
            yield f"Whether it holds under the condition {name}: {reason}."


def _seeds(result: Result, method: str) -> Iterator[str]:
    scatter = result.trust.seeds.get(method) if result.trust else None
    if scatter is not None and scatter.within_noise < len(scatter.seeds):
        yield (
            f"Whether another search finds as much: {scatter.within_noise} of {len(scatter.seeds)} search seeds of "
            f"{method} did."
        )


def _topic(result: Result) -> Iterator[str]:
    found = [check for check in result.topic.values() if check.state != "clear"]
    for sentence in dict.fromkeys(sentence for check in found for sentence in check.sentences):
        yield f"Whether it is the behaviour that was found, or topic: {sentence}."


def _judge(evidence: Evidence) -> Iterator[str]:
    if evidence.result.agreement is None:
        yield (
            f"How often the judge `{evidence.config.behaviour.target.kind}` errs: the file brought no labels to "
            "compare it with."
        )


def _reach(evidence: Evidence) -> Iterator[str]:
    result = evidence.result
    sets = 1 + len(result.baseline.utility) + len(result.baseline.protected)
    testbed = " The model is a small testbed, made for this." if evidence.stages.testbed else ""
    yield (
        f"What happens on conversations unlike these {result.splits.test} of {sets} sets, which one source brought."
        f"{testbed}"
    )
