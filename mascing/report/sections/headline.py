"""The headline of the page: which mask was published, if any, and by how much it moved the target."""

from dataclasses import dataclass

from mascing.evidence.explanation import also_passed, not_published
from mascing.evidence.results import CONTROL
from mascing.report.looks import in_order
from mascing.report.wording import as_sentence, percent, points
from mascing.schemas.result import Result


@dataclass(frozen=True)
class Headline:
    """The verdict of a run in one sentence, with its evidence."""

    passed: bool
    verdict: str
    sentence: str


def headline(result: Result) -> Headline:
    """Write the headline of a run."""
    method = shown_method(result)
    return Headline(
        passed=result.published is not None,
        verdict=_verdict(result),
        sentence=". ".join(result.lacking) if method is None else _sentence(method, result),
    )


def shown_method(result: Result) -> str | None:
    """Return the method that the page shows in detail.

    It is the published one, else the first on dev, else the one with the highest uplift.
    """
    if result.published is not None or result.first_on_dev is not None:
        return result.published or result.first_on_dev
    ranked = [name for name in in_order(result.methods) if name != CONTROL]
    return max(ranked, key=lambda name: result.methods[name].uplift.value, default=None)


def _verdict(result: Result) -> str:
    if result.lacking:
        return "No mask was searched for: there is not enough to learn from."
    if result.published is not None:
        return f"The {result.published} mask passed every gate and was published."
    return as_sentence(not_published(result))


def _sentence(method: str, result: Result) -> str:
    steered, before = result.methods[method], result.baseline.target_rate
    others = also_passed(result)
    further = f" {as_sentence(others)}" if others else ""
    return (
        f"Under the {method} mask, the wanted behaviour went from {percent(before.value)} to "
        f"{percent(steered.target_rate.value)} on {steered.target_rate.n} held-out conversations: "
        f"{points(steered.uplift.value)} percentage points (95% interval {points(steered.uplift.low)} to "
        f"{points(steered.uplift.high)}).{further}"
    )
