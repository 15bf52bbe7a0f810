"""What came of the verdicts: counts, why replies are unscored, and what it cost."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mascing.commands.verdicts.human_labels import share

if TYPE_CHECKING:
    from mascing.engines.openai.ledger import Amount
    from mascing.schemas.calibration import Calibration
    from mascing.schemas.verdict import Verdict

_REASONS_SHOWN = 5
# A billionth of a dollar is the rounding of sums.
_ROUNDING = 1e-9


def counted(
    kind: str, verdicts: "Sequence[Verdict]", groups: list[str], calibration: "Calibration | None" = None
) -> list[str]:
    """The counts of all outcomes, and the rate of hits if anything is scored, also without a known error."""
    from mascing.evidence.corrections import corrected
    from mascing.statistics.intervals import rate

    outcomes = [verdict.outcome for verdict in verdicts]
    unscored = outcomes.count("unscored")
    lines = [f"judged      {len(outcomes)} replies by {kind}"]
    if unscored < len(outcomes):
        bounds = ", counted as hits at one end of the interval, as misses at the other" if unscored else ""
        hits = corrected(rate(outcomes, groups), calibration)
        without_error = [f"corrected   {share(hits.corrected)}, without the judge's error"] if hits.corrected else []
        lines += [
            f"hits        {outcomes.count('hit')}: {share(hits)}",
            *without_error,
            f"misses      {outcomes.count('miss')}",
            f"unscored    {unscored}{bounds}",
        ]
    else:
        lines += [f"unscored    {unscored}: nothing could be scored"]
    return [*lines, *_why_unscored(verdicts)]


def spent(verdicts: "Sequence[Verdict]", before: "Amount | None", after: "Amount | None") -> list[str]:
    """What a paid judge took, and how much of it this process paid now, by what it had spent ``before`` and ``after``.

    Both are None for a judge that is not paid.
    """
    from mascing.judges.judge import summed

    if before is None or after is None:
        return []
    now = after - before
    cost = summed(verdict.cost for verdict in verdicts)
    lines = [] if cost is None else [f"cost        ${cost:.4f}"]
    if not now.tokens:
        return [*lines, "stored      all answers, and nothing was paid now: to ask anew, name another --storage"]
    if cost is not None and cost - now.dollars > _ROUNDING:
        lines[0] += f", of which ${now.dollars:.4f} was paid now: the other answers were stored"
    return lines


def _why_unscored(verdicts: "Sequence[Verdict]") -> list[str]:
    """The reasons, the most frequent first."""
    reasons = Counter(verdict.reason for verdict in verdicts if verdict.outcome == "unscored").most_common()
    lines = [f"  {count} x {reason}" for reason, count in reasons[:_REASONS_SHOWN]]
    rest = sum(count for _, count in reasons[_REASONS_SHOWN:])
    return [*lines, f"  {rest} x other reasons"] if rest else lines
