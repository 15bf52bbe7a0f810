"""Whether a judge still judges as it did: promotions rest on its verdicts, so doubt about it blocks them."""

from collections.abc import Sequence

from mascing.evidence.gates import WORDS, Decision
from mascing.schemas.result import Gate
from mascing.schemas.verdict import Outcome
from mascing.statistics import rate


def decide_canaries(judge: str, read: int, wrong: Sequence[str], unanswered: int) -> Decision:
    """Decide whether a judge reads the canaries as it must; ``wrong`` says what it made of each that it does not.

    ``unanswered`` of the ``read`` ones got no verdict, since the judge failed.
    """
    gate: Gate = "fail" if wrong else "undecided" if unanswered else "pass"
    said = f"{read - len(wrong) - unanswered} of {read} replies of the canary set are read as they must be"
    if unanswered:
        said += f", and the judge failed on {unanswered}"
    if wrong:
        said += f"; wrong is {'; '.join(wrong[:2])}: choose another judge, model or rubric"
    return gate, (f"{judge} on canaries {WORDS[gate]}: {said}",)


def decide_rejudged(
    judge: str, before: Sequence[Outcome], now: Sequence[Outcome | None], groups: Sequence[str], limit: float
) -> Decision:
    """Decide whether a judge gives enough verdicts again on replies that it judged before, scored ones alone.

    It passes if the lower bound of the share of equal verdicts is at least ``limit``, and fails if the upper bound is
    below. In ``now`` None stands for no verdict, since the judge failed; ``unscored`` is another verdict than before.
    Raises DataError if there is no verdict.
    """
    pairs = list(zip(before, now, strict=True))
    equal = rate(["unscored" if new is None else "hit" if new == old else "miss" for old, new in pairs], groups)
    gate: Gate = "pass" if equal.low >= limit else "fail" if equal.high < limit else "undecided"
    failed = f", and the judge failed on {equal.unscored}" if equal.unscored else ""
    remedies: dict[Gate, str] = {
        "pass": "",
        "fail": ": something else judges under the same settings; name a model that is pinned to a version, which "
        "judges all replies anew",
        "undecided": ": more test conversations, or another `min_agreement`, would decide it",
    }
    return gate, (
        f"{judge} on replies judged before {WORDS[gate]}: {sum(old == new for old, new in pairs)} of {len(pairs)} "
        f"verdicts are the same (95% interval {100 * equal.low:.1f}% to {100 * equal.high:.1f}%; "
        f"{before.count('hit')} were hits and {before.count('miss')} misses{failed}); the lower bound must be at "
        f"least {100 * limit:.1f}%{remedies[gate]}",
    )
