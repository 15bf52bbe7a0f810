"""The change of each set by a mask, against the unsteered model on the same conversations."""

from collections.abc import Mapping
from typing import cast

from mascing.report.run_evidence import Reply
from mascing.schemas.result import Rate
from mascing.schemas.verdict import Outcome
from mascing.statistics import paired_difference


def paired_changes(replies: Mapping[str, Mapping[str, Reply]]) -> dict[str, dict[str, Rate]]:
    """Map methods to sets to the paired difference of hit rates, with its interval clustered by group.

    ``replies`` maps a method (``baseline`` among them) to its judged replies by conversation id.
    """
    before = replies.get("baseline", {})
    return {
        method: {name: _difference(before, after, name) for name in sorted({row.set for row in before.values()})}
        for method, after in replies.items()
        if method != "baseline"
    }


def _difference(before: Mapping[str, Reply], after: Mapping[str, Reply], name: str) -> Rate:
    shared = [key for key, row in before.items() if row.set == name and key in after]
    return paired_difference(
        [cast(Outcome, before[key].outcome) for key in shared],
        [cast(Outcome, after[key].outcome) for key in shared],
        [before[key].group_id for key in shared],
    )
