"""Compare every method with the unsteered model and the random control, with tests adjusted for their number."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mascing.evidence.results import CONTROL, paired_target
from mascing.schemas.result import Comparison
from mascing.statistics import holm, paired_difference, paired_p

if TYPE_CHECKING:
    from mascing.evidence.results import Verdicts


def comparisons(verdicts: Mapping[str, "Verdicts"], baseline: str) -> list[Comparison]:
    """Compare each method with ``baseline``, and each other method with the control if there is one.

    Raises DataError if two tables do not hold the same target conversations.
    """
    methods = [name for name in verdicts if name != baseline]
    pairs = [(method, baseline) for method in methods]
    if CONTROL in methods:
        pairs += [(method, CONTROL) for method in methods if method != CONTROL]
    unadjusted = {(method, against): _compare(method, against, verdicts) for method, against in pairs}
    holm_p = holm({pair: comparison.p for pair, comparison in unadjusted.items()})
    return [comparison.model_copy(update={"holm_p": holm_p[pair]}) for pair, comparison in unadjusted.items()]


def _compare(method: str, against: str, verdicts: Mapping[str, "Verdicts"]) -> Comparison:
    before, after, groups = paired_target(verdicts[against], verdicts[method])
    p = paired_p(before, after, groups)
    difference = paired_difference(before, after, groups)
    return Comparison(method=method, against=against, difference=difference, p=p, holm_p=p)
